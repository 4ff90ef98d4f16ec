"""Cancelling, deleting, and how long results are kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.api.generations import GenerationStatus
from contracts.jobs import ReportEvent
from contracts.problems import ProblemCode
from ledger_service.domain.commands import RemoveMedia
from ledger_service.domain.events.generation import GenerationSucceeded
from ledger_service.domain.policy import Policy
from tests.fixtures.generating import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NOT_SENT,
    SUBMITTED,
    SUCCEEDED,
    UNKNOWN,
    Generating,
    paid_generation,
    submitted_generation,
)
from tests.fixtures.worlds import MemoryLedger

GRANTED = 100


def posted(generation: Generating) -> int:
    """What the account has."""
    return generation.ledger.balances().posted


def test_before_any_attempt_it_ends_at_once() -> None:
    """Cancelled and refunded in one commit; the job is nobody's any more."""
    generation = paid_generation()
    decision = generation.cancel()
    assert [type(new.event).__name__ for new in decision.events] == [
        "CancelRequested",
        "DebitRefunded",
        "GenerationCancelled",
    ]
    assert generation.status is GenerationStatus.CANCELLED
    assert posted(generation) == GRANTED
    assert generation.job.due_at is None
    assert generation.cancel().events == ()


def test_between_two_attempts_it_ends_at_once() -> None:
    """What certainly was not sent needs nobody's verdict."""
    generation = paid_generation()
    generation.claim()
    generation.report(NOT_SENT)
    generation.cancel()
    assert generation.status is GenerationStatus.CANCELLED
    assert posted(generation) == GRANTED


def test_while_a_worker_may_send_it_the_credits_stay() -> None:
    """The POST may be on its way: what comes of it decides."""
    generation = paid_generation()
    generation.claim()
    generation.cancel()
    assert generation.kinds[-1] == "CancelRequested"
    assert posted(generation) == GRANTED - 40
    generation.report(NOT_SENT)
    assert generation.status is GenerationStatus.CANCELLED
    assert generation.state.ending is not None
    assert generation.state.ending.reason == "cancelled"
    assert posted(generation) == GRANTED


@pytest.mark.parametrize(
    ("verdict", "status", "left"),
    [
        (CANCELLED, GenerationStatus.CANCELLED, GRANTED),
        (FAILED, GenerationStatus.FAILED, GRANTED),
        (SUCCEEDED, GenerationStatus.SUCCEEDED, GRANTED - 40),
    ],
)
def test_the_provider_decides(verdict: ReportEvent, status: GenerationStatus, left: int) -> None:
    """Success wins; anything else gives the credits back."""
    generation = submitted_generation()
    generation.cancel()
    generation.report(COMPLETED if verdict is SUCCEEDED else SUBMITTED)
    generation.report(verdict)
    assert generation.status is status
    assert posted(generation) == left


def test_a_cancel_is_looked_at_now() -> None:
    """A waiting job is due at once; one under a lease as soon as its worker is back."""
    waiting = paid_generation()
    waiting.claim()
    waiting.report(UNKNOWN)
    assert waiting.job.due_at is not None
    assert waiting.job.due_at > waiting.ledger.now
    waiting.cancel()
    assert waiting.job.due_at == waiting.ledger.now
    leased = submitted_generation()
    leased.cancel()
    assert leased.job.is_hinted
    assert leased.state.wants_cancel


def test_to_cancel_again_changes_nothing() -> None:
    """The first request stands."""
    generation = submitted_generation()
    generation.cancel()
    assert generation.cancel().events == ()


@pytest.mark.parametrize("verdict", [FAILED, SUCCEEDED])
def test_what_has_ended_otherwise_cannot_be_cancelled(verdict: ReportEvent) -> None:
    """Its status is told."""
    generation = submitted_generation()
    generation.report(COMPLETED)
    generation.report(verdict)
    refusal = generation.ledger.refuse(generation.cancel_command())
    assert refusal.code is ProblemCode.ALREADY_FINISHED
    assert refusal.fields == {"generation_status": generation.status}


def test_a_cancel_and_a_deadline_end_as_cancelled() -> None:
    """The owner's wish came first, whatever the clock says later."""
    generation = submitted_generation()
    generation.cancel()
    generation.pass_deadline()
    generation.claim()
    generation.report(CANCELLED)
    assert generation.status is GenerationStatus.CANCELLED


def test_deleted_under_way_it_is_settled_all_the_same() -> None:
    """It is shown no more at once, cannot be cancelled by anybody, and its verdict still counts."""
    generation = submitted_generation()
    generation.delete()
    assert generation.state.deleted_at is not None
    assert generation.state.wants_cancel
    assert generation.delete().events == ()
    refusal = generation.ledger.refuse(generation.cancel_command())
    assert refusal.code is ProblemCode.GENERATION_NOT_FOUND
    generation.report(CANCELLED)
    assert posted(generation) == GRANTED


def test_media_are_removed_once() -> None:
    """And only where there were any."""
    generation = submitted_generation()
    command = RemoveMedia(owner=generation.owner, generation_id=generation.generation_id)
    assert generation.ledger.do(command).events == ()
    generation.report(COMPLETED)
    generation.report(SUCCEEDED)
    assert len(generation.ledger.do(command).events) == 1
    assert generation.ledger.do(command).events == ()
    assert generation.state.media_removed_at == generation.ledger.now


@pytest.mark.parametrize("days", [None, 30])
def test_the_policy_of_the_day_says_how_long_a_result_is_kept(days: int | None) -> None:
    """It stands in the event, so that a later policy changes nothing about it."""
    retention = None if days is None else timedelta(days=days)
    ledger = MemoryLedger(Policy(media_retention=retention))
    ledger.grant(GRANTED)
    generation = Generating(ledger)
    generation.claim()
    for report in (SUBMITTED, COMPLETED, SUCCEEDED):
        generation.report(report)
    succeeded = generation.events[-1]
    assert isinstance(succeeded, GenerationSucceeded)
    assert succeeded.media_until == (None if retention is None else ledger.now + retention)
