"""The breaker before a provider's submits: when it opens, how it probes, and when it closes."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from contracts.jobs import PROVIDER_PAUSED, Claim, ClaimedAttempt, FailedReport, Step
from contracts.limits import DUE_MIN_SECONDS
from contracts.presence import BreakerState as State
from contracts.presence import Pause
from job_worker import breaker as breaker_module
from job_worker.breaker import (
    JITTER,
    PAUSE_MAX_SECONDS,
    PAUSE_MIN_SECONDS,
    PEER_WAIT_SECONDS,
    PROBE_WAIT_SECONDS,
    REFUSAL_PAUSE_MAX_SECONDS,
    REFUSALS_MAX,
    REFUSED_REMEMBERED_MAX,
    STEADY_SECONDS,
    STEADY_SUBMITS,
    TROUBLE_SECONDS,
    TROUBLES_MAX,
    Guarded,
)
from job_worker.errors import ProviderRefusesUs, ProviderRejected, ProviderUnavailable
from job_worker.providers.absent import AbsentProvider
from job_worker.providers.port import Accepted
from job_worker.steps.submit import submit

BUSY = ProviderRejected("provider_busy", sent=False, retryable=True)
SILENT = ProviderUnavailable("ReadTimeout")
UNREACHABLE = ProviderUnavailable("ConnectError", not_sent=True)
LOCKED = ProviderRefusesUs("provider_account_locked")
BAD_INPUT = ProviderRejected("invalid_input", sent=False)


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now


class Scripted(AbsentProvider):
    """Answers submits as the test says; an answer is an error or an acceptance."""

    def __init__(self) -> None:
        self.answer: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.posts: list[str] = []

    async def submit(self, claim: Claim) -> Accepted:
        """One POST."""
        self.posts.append(claim.generation_id)
        if self.gate is not None:
            await self.gate.wait()
        if self.answer is not None:
            raise self.answer
        return Accepted(request_id="req")


class Bench:
    """A guarded provider, and who submits to it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.provider = Scripted()
        self.guarded = Guarded("fal", self.provider)

    @property
    def state(self) -> State:
        """The breaker's."""
        return self.guarded.breaker.state

    def submit(self, answer: Exception | None = None, job: str = "gen_1") -> Any:
        """One submit; the provider, if asked, answers this. Returns the step's report."""
        self.provider.answer = answer
        return asyncio.run(self.report_of(job))

    async def report_of(self, job: str) -> Any:
        """The report of the real submit step."""
        return await submit(claim(job), self.guarded, float("inf"))

    def is_held_back(self, job: str = "gen_1") -> bool:
        """Whether a submit does not get through now."""
        before = len(self.provider.posts)
        report = self.submit(None, job)
        is_paused = isinstance(report, FailedReport) and report.reason == PROVIDER_PAUSED
        assert is_paused == (len(self.provider.posts) == before)
        return is_paused

    def seconds_until_probe(self) -> float:
        """Wait, and count how long nothing gets through."""
        start = self.clock.now
        while self.is_held_back():
            self.clock.now += 0.25
        return self.clock.now - start

    def open(self) -> None:
        """The account is locked."""
        self.submit(LOCKED)
        assert self.state is State.OPEN


def claim(job: str) -> Claim:
    """A claim to submit."""
    attempt = ClaimedAttempt(
        attempt_id=f"att_{job}", number=1, started_at=datetime.now(UTC), request_id=None, urls=None
    )
    return Claim(
        generation_id=job,
        fence="1.1",
        lease_until=datetime.now(UTC),
        step=Step.SUBMIT,
        attempt=attempt,
        model="m",
        provider="fal",
        endpoint="e",
        output="video",
        input={},
        asset_key="k",
    )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A closed breaker in a time of the test's own."""
    clock = Clock()
    monkeypatch.setattr(breaker_module, "time", clock)
    monkeypatch.setattr(breaker_module, "random", Random(7))
    return Bench(clock)


def test_a_refusal_of_our_account_opens_it_at_once(bench: Bench) -> None:
    """No further submit is sent, and what is held back says so in a report that harms nothing."""
    report = bench.submit(LOCKED)
    assert (report.reason, report.sent, report.retryable) == (LOCKED.reason, False, True)
    held = bench.submit(None, "gen_2")
    assert report.retry_after_seconds > held.retry_after_seconds
    assert (held.reason, held.sent, held.retryable) == (PROVIDER_PAUSED, False, True)
    assert PROBE_WAIT_SECONDS <= held.retry_after_seconds <= PAUSE_MIN_SECONDS * (1 + JITTER) ** 2
    assert bench.provider.posts == ["gen_1"]


@pytest.mark.parametrize("trouble", [BUSY, SILENT, UNREACHABLE])
def test_a_burst_of_troubles_opens_it(bench: Bench, trouble: Exception) -> None:
    """Some troubles are chance, a row of them is not."""
    for _ in range(TROUBLES_MAX - 1):
        bench.submit(trouble)
        assert bench.state is State.CLOSED
    bench.submit(trouble)
    assert bench.state is State.OPEN


def test_troubles_between_good_submits_do_not_open_it(bench: Bench) -> None:
    """A provider that takes some of our submits is asked on; a job's own fault is no trouble."""
    for answer in (None, BAD_INPUT):
        for _ in range(3 * TROUBLES_MAX):
            for _ in range(TROUBLES_MAX - 1):
                bench.submit(BUSY)
            bench.submit(answer)
    assert bench.state is State.CLOSED


def test_troubles_far_apart_do_not_open_it(bench: Bench) -> None:
    """They are no burst."""
    for _ in range(3 * TROUBLES_MAX):
        bench.submit(SILENT)
        bench.clock.now += TROUBLE_SECONDS / (TROUBLES_MAX - 2)
    assert bench.state is State.CLOSED


def test_pauses_grow_up_to_a_bound(bench: Bench) -> None:
    """Each failed probe doubles the pause; a person's trouble may take longer than an outage."""
    for error, longest in ((LOCKED, REFUSAL_PAUSE_MAX_SECONDS), (SILENT, PAUSE_MAX_SECONDS)):
        bench.submit(LOCKED)
        pauses = []
        for _ in range(9):
            bench.clock.now = bench.guarded.breaker._open_until
            bench.submit(error)
            pauses.append(bench.guarded.breaker._open_until - bench.clock.now)
        expected = [min(PAUSE_MIN_SECONDS * 2**n, longest) for n in range(1, 10)]
        for pause, base in zip(pauses, expected, strict=True):
            assert base <= pause <= base * (1 + JITTER)
        bench.clock.now = bench.guarded.breaker._open_until
        bench.submit(None)
        assert bench.state is State.CLOSED
        bench.clock.now += STEADY_SECONDS


def test_a_busy_provider_s_own_pause_is_heeded(bench: Bench) -> None:
    """Retry-After counts where it is longer."""
    told = ProviderRejected("provider_busy", sent=False, retryable=True, retry_after_seconds=40.0)
    for _ in range(TROUBLES_MAX):
        bench.submit(told)
    bench.clock.now += 39.0
    assert bench.is_held_back()
    assert bench.seconds_until_probe() <= 1.0 + 40.0 * JITTER + 0.25


def test_one_good_probe_closes_it(bench: Bench) -> None:
    """After the pause one submit goes out, and then all of them."""
    bench.open()
    assert bench.seconds_until_probe() >= PAUSE_MIN_SECONDS
    assert bench.state is State.CLOSED
    assert not any(bench.is_held_back(f"gen_{n}") for n in range(20))


def test_a_probe_that_is_refused_on_its_merits_closes_it(bench: Bench) -> None:
    """A provider that looks at our jobs again is well, whatever it says of this one."""
    bench.open()
    bench.clock.now += 10.0
    assert bench.submit(BAD_INPUT).reason == "invalid_input"
    assert bench.state is State.CLOSED


def test_there_is_one_probe_at_a_time(bench: Bench) -> None:
    """While it is under way the others wait; one that is abandoned makes room for the next."""
    bench.open()
    bench.clock.now += 10.0
    bench.provider.answer = None

    async def scenario() -> None:
        bench.provider.gate = asyncio.Event()
        probe = asyncio.create_task(bench.report_of("gen_probe"))
        await asyncio.sleep(0)
        assert bench.state is State.PROBING
        others = [await bench.report_of(f"gen_{n}") for n in range(5)]
        assert {report.reason for report in others} == {PROVIDER_PAUSED}
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        bench.provider.gate.set()
        await bench.report_of("gen_next")

    asyncio.run(scenario())
    assert bench.provider.posts[-2:] == ["gen_probe", "gen_next"]
    assert bench.state is State.CLOSED


def test_what_was_under_way_when_it_opened_says_nothing(bench: Bench) -> None:
    """Neither late successes close it, nor late troubles make its pause longer."""

    async def scenario(late: Exception | None) -> None:
        bench.provider.gate = asyncio.Event()
        bench.provider.answer = late
        under_way = [asyncio.create_task(bench.report_of(f"gen_{n}")) for n in range(9)]
        await asyncio.sleep(0)
        gate, bench.provider.gate = bench.provider.gate, None
        bench.provider.answer = LOCKED
        await bench.report_of("gen_locked")
        until, bench.provider.answer = bench.guarded.breaker._open_until, late
        gate.set()
        await asyncio.gather(*under_way)
        assert bench.state is State.OPEN
        assert bench.guarded.breaker._open_until == until

    for late in (None, BUSY, LOCKED):
        bench.guarded = Guarded("fal", bench.provider)
        asyncio.run(scenario(late))


def test_a_breaker_that_opens_again_soon_goes_on_where_it_was(bench: Bench) -> None:
    """A provider that recovers for a moment is not asked every two seconds for ever."""
    for steady_seconds, longer in ((1.0, True), (STEADY_SECONDS + 1, False)):
        bench.open()
        for _ in range(3):
            bench.clock.now = bench.guarded.breaker._open_until
            bench.submit(LOCKED)
        bench.clock.now = bench.guarded.breaker._open_until
        bench.submit(None)
        bench.clock.now += steady_seconds
        bench.open()
        pause = bench.guarded.breaker._open_until - bench.clock.now
        assert (pause > 4 * PAUSE_MIN_SECONDS) == longer
        bench.clock.now = bench.guarded.breaker._open_until
        bench.submit(None)
        bench.clock.now += STEADY_SECONDS + 1


@pytest.mark.parametrize(
    ("accepted", "longer"), [(STEADY_SUBMITS - 1, True), (STEADY_SUBMITS, False)]
)
def test_refusals_among_many_accepted_submits_do_not_add_up(
    bench: Bench, accepted: int, longer: bool
) -> None:
    """A provider that takes many submits is well: the next refusal is a new one, and its pause the
    first, however soon it comes. Otherwise a few refused jobs would hold back all the others."""
    for round_number in range(6):
        bench.submit(LOCKED, f"gen_bad_{round_number}")
        pause = bench.guarded.breaker._open_until - bench.clock.now
        assert (pause > PAUSE_MIN_SECONDS * (1 + JITTER)) is (longer and round_number > 0)
        bench.clock.now = bench.guarded.breaker._open_until
        bench.submit(None, f"gen_probe_{round_number}")  # this one closes it
        for number in range(accepted):
            bench.submit(None, f"gen_{round_number}_{number}")


def test_a_job_refused_alone_fails_alone(bench: Bench) -> None:
    """Refused again and again while others are accepted: it is meant, not we."""
    for times in range(1, REFUSALS_MAX + 1):
        report = bench.submit(LOCKED, "gen_bad")
        assert (report.reason, report.sent) == (LOCKED.reason, False)
        assert report.retryable is (times < REFUSALS_MAX)
        bench.clock.now += 1_000
        assert bench.state is (State.OPEN if times < REFUSALS_MAX else State.CLOSED)
        bench.submit(None, f"gen_{times}")


def test_a_long_lock_is_nobody_s_own_fault(bench: Bench) -> None:
    """However often a job is the probe of a locked account, it goes on waiting."""
    for _ in range(10 * REFUSALS_MAX):
        assert bench.submit(LOCKED, "gen_1").retryable
        bench.clock.now += 1_000


def test_what_it_remembers_of_refused_jobs_is_bounded(bench: Bench) -> None:
    """A lock that meets very many jobs takes no more memory than one that meets a few."""
    for n in range(REFUSED_REMEMBERED_MAX + 100):
        bench.submit(LOCKED, f"gen_{n}")
        bench.clock.now += 1_000
    assert len(bench.guarded.breaker._refused) == REFUSED_REMEMBERED_MAX


def test_each_change_is_told_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The log has a line for each change, and the health line says where it stands."""
    assert str(bench.guarded.breaker) == "fal closed"
    with caplog.at_level(logging.INFO, logger="job_worker.breaker"):
        bench.open()
        for _ in range(5):
            assert bench.is_held_back()
        said = str(bench.guarded.breaker)
        assert said == "fal open for 0 s (provider_account_locked), 5 submits held back"
        bench.clock.now += 10.0
        bench.submit(None)
    levels = [(record.levelname, record.getMessage().split()[1]) for record in caplog.records]
    assert levels == [("CRITICAL", "open"), ("INFO", "probing"), ("WARNING", "closed")]


def test_the_first_pause_is_the_ledger_s_own_first_wait() -> None:
    """What the breaker holds back for a hiccup comes no later than it would have come anyway."""
    assert PAUSE_MIN_SECONDS == DUE_MIN_SECONDS
    assert PROBE_WAIT_SECONDS <= DUE_MIN_SECONDS


HEARD = Pause(name="fal", reason="provider_account_locked", seconds_left=20.0)


def test_what_a_peer_has_found_is_not_tried_again(bench: Bench) -> None:
    """Nothing is sent until the peer has had the time to probe, and to say what came of it; then
    one submit is, if the peer has said nothing more."""
    bench.guarded.breaker.hear(HEARD)
    assert bench.state is State.OPEN
    seconds = bench.seconds_until_probe()
    least = HEARD.seconds_left + PEER_WAIT_SECONDS
    assert least <= seconds <= least * (1 + JITTER) + 0.25
    assert len(bench.provider.posts) == 1
    assert not bench.is_held_back()


def test_a_peers_longer_pause_is_heard_as_well(bench: Bench) -> None:
    """As long as the peer finds the account locked, nobody else does."""
    bench.guarded.breaker.hear(HEARD)
    bench.clock.now += HEARD.seconds_left
    bench.guarded.breaker.hear(HEARD)
    assert bench.seconds_until_probe() >= HEARD.seconds_left + PEER_WAIT_SECONDS
    assert bench.provider.posts == ["gen_1"]


def test_who_has_found_out_itself_listens_to_nobody(bench: Bench) -> None:
    """Its own pauses go on: two that waited for each other would wait for ever."""
    bench.open()
    own = bench.guarded.breaker.seconds_left()
    bench.guarded.breaker.hear(HEARD)
    assert bench.guarded.breaker.seconds_left() == own
    assert bench.seconds_until_probe() <= PAUSE_MIN_SECONDS * (1 + JITTER) + 0.25


def test_peers_are_told_what_is_certain(bench: Bench) -> None:
    """A first refusal may have been meant for one job; one that follows upon it was of another
    one's. What was only heard is never told on."""
    assert bench.guarded.breaker.seen().state is State.CLOSED
    bench.open()
    seen = bench.guarded.breaker.seen()
    assert (seen.state, seen.reason) == (State.OPEN, "provider_account_locked")
    assert not seen.is_certain
    assert bench.is_held_back()
    bench.clock.now += 10.0
    assert bench.guarded.breaker.seen().seconds_left == 0
    bench.submit(LOCKED)
    assert not bench.guarded.breaker.seen().is_certain, "the same job once more"
    bench.clock.now += 10.0
    bench.submit(LOCKED, "gen_2")
    seen = bench.guarded.breaker.seen()
    assert seen.is_certain
    assert seen.seconds_left > PAUSE_MIN_SECONDS
    assert (seen.for_seconds, seen.held_back) == (20.0, 1)


def test_what_was_only_heard_is_not_told_on(bench: Bench) -> None:
    """Also not when there have been pauses of its own shortly before."""
    bench.open()
    bench.clock.now += 10.0
    bench.submit(LOCKED, "gen_2")
    bench.clock.now += 10.0
    bench.submit(None, "gen_3")
    assert bench.state is State.CLOSED
    bench.guarded.breaker.hear(HEARD)
    assert bench.guarded.breaker.seen().state is State.OPEN
    assert not bench.guarded.breaker.seen().is_certain
