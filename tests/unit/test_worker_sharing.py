"""Shared calls: together when a call is under way, at once when none is, each wish by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.jobs import Claim
from job_worker.carrying import Carrier
from job_worker.crew import Crew
from job_worker.sharing import CALLS_MAX, Shared, SharedDesk
from tests.fixtures.stub_ledger import StubJob


class Line:
    """A line whose calls end when told to."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go_on = asyncio.Event()
        self.fails = False

    async def send(self, wishes: Sequence[str]) -> list[str | BaseException]:
        """Answers in capitals; a wish that is `no` is refused."""
        self.calls.append(list(wishes))
        await self.go_on.wait()
        if self.fails:
            raise LedgerUnavailable("POST", "timeout")
        refusal = LedgerRejected("POST", "stale_fence", 409, {})
        return [refusal if wish == "no" else wish.upper() for wish in wishes]


def run(test: Callable[[Line], Awaitable[None]]) -> None:
    """Run a test on a loop of its own."""

    async def whole() -> None:
        await test(Line())

    asyncio.run(whole())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_waits_goes_together() -> None:
    """The first ones go at once, alone; what comes meanwhile goes together, in pieces of `most`."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 3)
        asked = []
        for wish in "abcdefg":
            asked.append(asyncio.create_task(ask(wish)))
            await settle()
        assert line.calls == [["a"], ["b"]][:CALLS_MAX]
        line.go_on.set()
        assert await asyncio.gather(*asked) == list("ABCDEFG")
        assert sorted(line.calls) == [["a"], ["b"], ["c", "d", "e"], ["f", "g"]]
        line.calls.clear()
        assert await ask("h") == "H"  # an idle line calls at once again
        assert line.calls == [["h"]]

    run(test)


def test_each_wish_has_its_own_answer() -> None:
    """A refusal is its own wish's alone; a call that fails has failed for all of its wishes."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 10)
        asked = [asyncio.create_task(ask(wish)) for wish in ("a", "b", "no", "c")]
        await settle()
        line.go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [answers[0], answers[1], answers[3]] == ["A", "B", "C"]
        assert isinstance(answers[2], LedgerRejected)
        line.fails = True
        failed = await asyncio.gather(*[ask(wish) for wish in "xyz"], return_exceptions=True)
        assert [type(answer) for answer in failed] == [LedgerUnavailable] * 3
        line.fails = False
        assert await ask("a") == "A"

    run(test)


def test_who_stops_waiting_spoils_nothing() -> None:
    """A wish whose asker is gone is sent all the same, and its neighbours get their answers."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 10)
        asked = [asyncio.create_task(ask(wish)) for wish in "abcd"]
        await settle()
        asked[2].cancel()
        await settle()
        line.go_on.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[2], asyncio.CancelledError)
        assert [answers[0], answers[1], answers[3]] == ["A", "B", "D"]

    run(test)


def test_two_bells_in_one_call_get_one_claim() -> None:
    """A claim is permission for one step: two who rang for it must not both have it."""
    claim = StubJob("gen_1", "a boat").claim()

    class Client(WorkClient):
        def __init__(self) -> None:
            pass

        async def claim_each(self, generation_ids: Sequence[str]) -> tuple[Claim, ...]:
            await asyncio.sleep(0)
            return (claim,) if "gen_1" in generation_ids else ()

    async def claims() -> list[tuple[Claim, ...]]:
        desk = SharedDesk(Client())
        wanted = ["gen_0", "gen_2", "gen_1", "gen_1"]
        return list(await asyncio.gather(*[desk.claim(it) for it in wanted]))

    assert asyncio.run(claims()) == [(), (), (claim,), ()]


@pytest.mark.parametrize("places", [1, 3])
def test_a_crew_has_so_many_places(places: int) -> None:
    """Bells beyond the places wait; one that is carried is not carried twice; a drained crew takes
    nothing more."""

    class Slow(Carrier):
        def __init__(self) -> None:
            self.rung: list[str] = []
            self.go_on = asyncio.Event()

        async def answer_bell(self, generation_id: str) -> None:
            self.rung.append(generation_id)
            await self.go_on.wait()

    async def test() -> None:
        carrier = Slow()
        crew = Crew(carrier, places)
        bells = [asyncio.create_task(crew.answer_bell(f"gen_{n}")) for n in range(places + 1)]
        await settle()
        assert (crew.carried, crew.free, bells[-1].done()) == (places, 0, False)
        carrier.go_on.set()
        await asyncio.gather(*bells)
        await settle()
        assert (len(carrier.rung), crew.free) == (places + 1, places)
        carrier.go_on.clear()
        if places > 1:
            await crew.answer_bell("gen_a")
            await crew.answer_bell("gen_a")
            assert crew.carried == 1
        await crew.drain(0.0)
        await crew.answer_bell("gen_b")
        await settle()
        assert (crew.carried, "gen_b" in carrier.rung) == (0, False)

    asyncio.run(test())
