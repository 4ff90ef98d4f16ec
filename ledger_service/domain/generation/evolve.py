"""What each generation event means for the state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from contracts.api.generations import GenerationStatus
from contracts.jobs import PROVIDER_PAUSED
from ledger_service.domain.events.generation import (
    AttemptAbandoned,
    CancelRequested,
    DeadlinePassed,
    GenerationCancelled,
    GenerationDeleted,
    GenerationEnded,
    GenerationEvent,
    GenerationExpired,
    GenerationFailed,
    GenerationFlagged,
    GenerationRequested,
    GenerationStarted,
    GenerationSubmitted,
    GenerationSucceeded,
    LateFactRecorded,
    MediaRemoved,
    SubmissionLost,
    SubmissionStarted,
)
from ledger_service.domain.generation.state import (
    Attempt,
    AttemptPhase,
    Ending,
    FlagState,
    GenerationState,
)


def evolve_generation(
    state: GenerationState | None,
    event: GenerationEvent,
    version: int,
    recorded_at: datetime,
    *,
    owner: str = "",
) -> GenerationState:
    """The state after `event`; `owner` is needed for the first one."""
    if isinstance(event, GenerationRequested):
        assert state is None, "a generation is requested once"
        return _requested(event, version, recorded_at, owner)
    assert state is not None, "a generation is requested before anything else"
    assert version == state.version + 1, (version, state.version)
    changes = _EVOLVERS[type(event)](state, event, recorded_at)
    return replace(state, version=version, updated_at=recorded_at, **changes)


def _requested(
    event: GenerationRequested, version: int, recorded_at: datetime, owner: str
) -> GenerationState:
    assert owner, "the stream tells the owner"
    return GenerationState(
        generation_id=event.generation_id,
        owner=owner,
        account_id=event.account_id,
        model=event.model,
        status=GenerationStatus.REQUESTED,
        price=event.price,
        debit_id=event.debit_id,
        deadline=event.deadline,
        private=event.private,
        version=version,
        created_at=recorded_at,
        updated_at=recorded_at,
        reference=event.reference,
        price_line=event.price_line,
        quote_id=event.quote_id,
        theme=event.theme,
        priority=event.priority,
    )


def _started_submit(
    state: GenerationState, event: SubmissionStarted, at: datetime
) -> dict[str, Any]:
    assert state.live_attempt is None, "one attempt at a time"
    attempt = Attempt(
        attempt_id=event.attempt_id,
        number=event.number,
        started_at=at,
        post_before=event.post_before,
    )
    return {"status": GenerationStatus.SUBMITTING, "attempts": (*state.attempts, attempt)}


def _lost(state: GenerationState, event: SubmissionLost, _: datetime) -> dict[str, Any]:
    attempts = _with(state, event.attempt_id, phase=AttemptPhase.LOST)
    return {"status": GenerationStatus.SUBMISSION_UNKNOWN, "attempts": attempts}


def _submitted(state: GenerationState, event: GenerationSubmitted, _: datetime) -> dict[str, Any]:
    attempts = _with(
        state,
        event.attempt_id,
        phase=AttemptPhase.SUBMITTED,
        request_id=event.request_id,
        urls=event.urls,
    )
    is_running = state.status is GenerationStatus.RUNNING
    return {
        "status": state.status if is_running else GenerationStatus.SUBMITTED,
        "attempts": attempts,
    }


def _running(_: GenerationState, __: GenerationStarted, ___: datetime) -> dict[str, Any]:
    return {"status": GenerationStatus.RUNNING}


def _abandoned(state: GenerationState, event: AttemptAbandoned, _: datetime) -> dict[str, Any]:
    attempts = _with(state, event.attempt_id, phase=AttemptPhase.ABANDONED)
    paused = state.paused + (event.reason == PROVIDER_PAUSED)
    return {"status": GenerationStatus.REQUESTED, "attempts": attempts, "paused": paused}


def _overdue(_: GenerationState, event: DeadlinePassed, __: datetime) -> dict[str, Any]:
    return {"grace_until": event.grace_until}


def _cancel_requested(_: GenerationState, __: CancelRequested, at: datetime) -> dict[str, Any]:
    return {"cancel_requested_at": at}


def _deleted(_: GenerationState, __: GenerationDeleted, at: datetime) -> dict[str, Any]:
    return {"deleted_at": at}


def _media_removed(_: GenerationState, __: MediaRemoved, at: datetime) -> dict[str, Any]:
    return {"media_removed_at": at}


def _flagged(state: GenerationState, event: GenerationFlagged, at: datetime) -> dict[str, Any]:
    flag = FlagState(
        flag_id=event.flag_id, reason=event.reason, private=event.private, created_at=at
    )
    return {"flags": (*state.flags, flag)}


def _succeeded(_: GenerationState, event: GenerationSucceeded, at: datetime) -> dict[str, Any]:
    return {
        "status": GenerationStatus.SUCCEEDED,
        "asset": event.asset,
        "more_assets": event.more,
        "refund_id": event.refund_id,
        "refunded": event.refunded,
        "finished_at": at,
    }


def _ended(_: GenerationState, event: GenerationEnded, at: datetime) -> dict[str, Any]:
    ending = Ending(reason=event.reason, retryable=event.retryable, private=event.private)
    return {
        "status": _STATUS_OF_ENDING[type(event)],
        "ending": ending,
        "refund_id": event.refund_id,
        "refunded": event.refunded,
        "finished_at": at,
    }


def _late(state: GenerationState, event: LateFactRecorded, _: datetime) -> dict[str, Any]:
    attempt = state.attempt(event.attempt_id)
    assert attempt is not None
    facts = (*attempt.late_facts, event.fact)
    request_id = attempt.request_id or event.request_id
    return {"attempts": _with(state, event.attempt_id, late_facts=facts, request_id=request_id)}


def _with(state: GenerationState, attempt_id: str, **changes: Any) -> tuple[Attempt, ...]:
    assert state.attempt(attempt_id) is not None, attempt_id
    return tuple(replace(a, **changes) if a.attempt_id == attempt_id else a for a in state.attempts)


_STATUS_OF_ENDING: Final = {
    GenerationFailed: GenerationStatus.FAILED,
    GenerationCancelled: GenerationStatus.CANCELLED,
    GenerationExpired: GenerationStatus.EXPIRED,
}

_EVOLVERS: Final[
    dict[type[GenerationEvent], Callable[[GenerationState, Any, datetime], dict[str, Any]]]
] = {
    SubmissionStarted: _started_submit,
    SubmissionLost: _lost,
    GenerationSubmitted: _submitted,
    GenerationStarted: _running,
    AttemptAbandoned: _abandoned,
    DeadlinePassed: _overdue,
    CancelRequested: _cancel_requested,
    GenerationDeleted: _deleted,
    MediaRemoved: _media_removed,
    GenerationFlagged: _flagged,
    GenerationSucceeded: _succeeded,
    GenerationFailed: _ended,
    GenerationCancelled: _ended,
    GenerationExpired: _ended,
    LateFactRecorded: _late,
}
