"""Another provider than fal: the real steps, carrier and storage at one that speaks otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.client import WorkClient
from contracts.jobs import (
    PROVIDER_PAUSED,
    FailedReport,
    SubmissionUnknownReport,
    SubmittedReport,
    SucceededReport,
)
from job_worker.carrying import Carrier
from job_worker.downloads import MediaHosts
from job_worker.main import PROVIDERS, Steps
from job_worker.media import MediaStore
from job_worker.providers.absent import WAIT_SECONDS
from tests.fixtures.darkroom import NAME, PICTURE, TOKEN, Darkroom, DarkroomServer, serve_darkroom
from tests.fixtures.stub_ledger import WORK_KEY, StubJob, StubLedger, outcome_of, serve_stub_ledger

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20.0


@pytest.fixture
def ledger() -> Iterator[StubLedger]:
    """A ledger that only knows claims and reports."""
    with serve_stub_ledger() as stub:
        yield stub


@pytest.fixture
def darkroom() -> Iterator[DarkroomServer]:
    """The other provider."""
    with serve_darkroom() as server:
        yield server


async def work(
    ledger: StubLedger,
    darkroom: DarkroomServer,
    folder: Path,
    until: Callable[[], Any],
    token: str = TOKEN,
) -> None:
    """Pull and carry whatever is due until something is true."""
    provider = Darkroom(darkroom.url, token)
    store = MediaStore(f"file://{folder}", MediaHosts(provider.media_hosts))
    steps = Steps({NAME: provider}, store)
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with WorkClient(ledger.url, WORK_KEY, worker="test") as client:
        carrier = Carrier(client, steps)
        while not until():
            assert time.monotonic() < deadline, "it never happened"
            await asyncio.gather(*[carrier.carry(held) for held in await carrier.claim_due(8)])
            await asyncio.sleep(0.05)
    await steps.close()


def kinds(job: StubJob) -> list[type]:
    """What was reported, in order."""
    return [type(event) for event in job.events]


def test_another_provider_takes_one_adapter(
    ledger: StubLedger, darkroom: DarkroomServer, tmp_path: Path
) -> None:
    """Submit, status, result and the stored asset at a provider without any queue."""
    job = ledger.add("a paper boat", provider=NAME)
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: job.ended))
    assert isinstance(job.ended, SucceededReport)
    asset = job.ended.asset
    assert asset.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert (tmp_path / asset.key).read_bytes() == PICTURE
    assert job.ended.billable_units == "1"
    assert job.calls <= 4
    assert len(darkroom.posts) == 1


OUTCOMES = {
    "a bad boat": ("failed", "too_dark"),
    "a busy boat": ("succeeded", ""),
    "a lost boat": ("succeeded", ""),
}


@pytest.mark.parametrize("subject", OUTCOMES)
def test_its_troubles_are_the_steps_own(
    ledger: StubLedger, darkroom: DarkroomServer, tmp_path: Path, subject: str
) -> None:
    """Refusals, a busy moment and a lost answer end as they do with any provider."""
    job = ledger.add(subject, provider=NAME)
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: job.ended))
    assert outcome_of(job) == OUTCOMES[subject]
    assert len(darkroom.orders) == (OUTCOMES[subject][0] == "succeeded")
    if "lost" in subject:
        assert kinds(job)[:2] == [SubmissionUnknownReport, SubmittedReport]
        assert len(darkroom.posts) == 1


def test_its_refusal_of_our_key_opens_its_breaker(
    ledger: StubLedger, darkroom: DarkroomServer, tmp_path: Path
) -> None:
    """Every provider stands behind a breaker of its own, without knowing of it."""
    first = ledger.add("a paper boat", provider=NAME)
    second = ledger.add("a boat behind it", provider=NAME, due_in_seconds=0.5)
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: second.events, token="wrong"))
    reasons = [event.reason for event in (first.events[0], second.events[0])
               if isinstance(event, FailedReport)]  # fmt: skip
    assert reasons == ["provider_key_refused", PROVIDER_PAUSED]
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: first.ended and second.ended))
    assert {outcome_of(first), outcome_of(second)} == {("succeeded", "")}


def test_a_provider_that_this_worker_does_not_know_is_left_to_another(
    ledger: StubLedger, darkroom: DarkroomServer, tmp_path: Path
) -> None:
    """An older worker beside a newer ledger: nothing is sent, nothing ends, nothing is lost."""
    job = ledger.add("a paper boat", provider="of tomorrow")
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: job.events))
    (event,) = job.events
    assert isinstance(event, FailedReport)
    assert (event.reason, event.sent, event.retryable) == (PROVIDER_PAUSED, False, True)
    assert event.retry_after_seconds == WAIT_SECONDS
    assert "of tomorrow" not in PROVIDERS
    job.provider, job.due_at = NAME, 0.0
    asyncio.run(work(ledger, darkroom, tmp_path, lambda: job.ended))
    assert outcome_of(job) == ("succeeded", "")
