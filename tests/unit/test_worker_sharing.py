"""Shared calls: together when a call is under way, at once when none is, each wish by itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence

import pytest

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.jobs import Claim
from job_worker.carrying import Carrier, Held
from job_worker.crew import Crew
from job_worker.sharing import CALLS_MAX, SLOW_CALL_SECONDS, Shared, SharedDesk
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


async def asked_one_by_one(ask: Shared[str, str], wishes: str) -> list[asyncio.Task[str]]:
    """So that each of the first ones has a call of its own."""
    asked = []
    for wish in wishes:
        asked.append(asyncio.create_task(ask(wish)))
        await settle()
    return asked


def test_what_waits_goes_together() -> None:
    """The first one goes at once, alone; what comes meanwhile together, in pieces of `most`."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 3)
        asked = await asked_one_by_one(ask, "abcdefg")
        assert line.calls == [["a"]]
        line.go_on.set()
        assert await asyncio.gather(*asked) == list("ABCDEFG")
        assert line.calls == [["a"], ["b", "c", "d"], ["e", "f", "g"]]
        line.calls.clear()
        assert await ask("h") == "H"  # an idle line calls at once again
        assert line.calls == [["h"]]

    run(test)


def test_beside_a_slow_call_another_goes_out() -> None:
    """Once, for all that wait by then: nobody has to wait for the slowest."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 10)
        asked = await asked_one_by_one(ask, "abc")
        await asyncio.sleep(2 * SLOW_CALL_SECONDS)
        assert len(line.calls) == CALLS_MAX
        asked += await asked_one_by_one(ask, "de")
        await asyncio.sleep(2 * SLOW_CALL_SECONDS)
        assert line.calls == [["a"], ["b", "c"]]
        line.go_on.set()
        assert await asyncio.gather(*asked) == list("ABCDE")

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
    """Its neighbours in the queue get their answers all the same."""

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


def test_a_wish_that_comes_as_the_last_calls_end_is_not_forgotten() -> None:
    """Both lines end in one turn of the loop, and in the same turn somebody comes: nobody else
    would send it."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 10)
        first = await asked_one_by_one(ask, "ab")
        await asyncio.sleep(2 * SLOW_CALL_SECONDS)
        assert len(line.calls) == CALLS_MAX

        async def come_late() -> str:
            await line.go_on.wait()
            return await ask("c")

        late = asyncio.create_task(come_late())
        await settle()
        line.go_on.set()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*first, late) == ["A", "B", "C"]

    run(test)


def test_who_stops_waiting_before_it_has_left_takes_it_back() -> None:
    """A renewal whose step is over must not arrive after the step's own report."""

    async def test(line: Line) -> None:
        ask = Shared(line.send, 10)
        asked = await asked_one_by_one(ask, "abc")
        asked[1].cancel()
        line.go_on.set()
        await asyncio.gather(*asked, return_exceptions=True)
        assert line.calls == [["a"], ["c"]]

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


def test_a_pull_and_bells_do_not_take_the_same_places() -> None:
    """Places that a pull asks work for are taken until it is answered: what it brings is claimed,
    and must be carried at once."""

    class Pulling(Carrier):
        def __init__(self) -> None:
            self.go_on = asyncio.Event()
            self.most = 0

        async def claim_due(self, most: int) -> list[Held]:
            self.most = most
            await self.go_on.wait()
            return []

        async def answer_bell(self, generation_id: str) -> None:
            await asyncio.sleep(60)

    async def test() -> None:
        carrier = Pulling()
        crew = Crew(carrier, places=3)
        await crew.answer_bell("gen_1")
        pull = asyncio.create_task(crew.claim_due())
        await settle()
        assert (carrier.most, crew.free) == (2, 0)
        bell = asyncio.create_task(crew.answer_bell("gen_2"))
        await settle()
        assert crew.carried == 1
        carrier.go_on.set()
        assert not await pull
        async with asyncio.timeout(5):
            await bell
        assert crew.carried == 2
        await crew.drain(0.0)

    asyncio.run(test())


def test_a_worker_s_environment_is_closed_to_its_neighbours() -> None:
    """It holds keys, and decoders of strangers' media run as the same user."""
    code = (
        "import ctypes; from job_worker.process import hide_environment as hide;"
        " look = lambda: ctypes.CDLL(None).prctl(3); before = look(); hide(); print(before, look())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
