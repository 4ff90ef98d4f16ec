"""Deadlines and hints: what moves a generation when no worker reports."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.problems import ProblemCode
from ledger_service.domain.commands import EndOverdue, HintGeneration
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.generation import (
    DeadlinePassed,
    GenerationExpired,
    GenerationSubmitted,
    LateFactRecorded,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.endings import end_generation
from ledger_service.domain.generation.state import AttemptPhase
from ledger_service.domain.world import Outcome, Refusal, World

NO_SUCH_GENERATION = Refusal(ProblemCode.GENERATION_NOT_FOUND)


def decide_overdue(world: World, command: EndOverdue, now: datetime) -> Outcome:
    """First ask the provider to cancel and wait for its verdict; after the grace, give up."""
    state = world.generations[command.stream]
    if state is None:
        return NO_SUCH_GENERATION
    draft = Draft(world, command, now)
    job = world.jobs[command.generation_id]
    if state.status.is_final or now < job.deadline:
        return finish(draft)
    if state.live_attempt is None or state.grace_until is not None:
        attempt_id = state.live_attempt.attempt_id if state.live_attempt else None
        ending = GenerationExpired(reason="deadline", retryable=True, attempt_id=attempt_id)
        return end_generation(world, draft, state, job, ending) or finish(draft)
    grace_until = now + command.grace
    state = draft.record_generation(
        command.stream, state.owner, DeadlinePassed(grace_until=grace_until)
    )
    due_at = job.due_at if job.is_leased(now) else now
    draft.keep_job(replace(job, status=state.status, deadline=grace_until, due_at=due_at))
    return finish(draft)


def decide_hint(world: World, command: HintGeneration, now: datetime) -> Outcome:
    """A webhook makes the job due; the request id it names heals a lost submit.

    About an attempt that is over it is a late fact: the provider had it after all.
    """
    state = world.generations[command.stream]
    if state is None:
        return NO_SUCH_GENERATION
    draft = Draft(world, command, now)
    job = world.jobs[command.generation_id]
    attempt = next((a for a in state.attempts if a.number == command.number), None)
    if attempt is None:
        return finish(draft)
    news = command.request_id if attempt.request_id is None else None
    if state.status.is_final or attempt.phase is AttemptPhase.ABANDONED:
        if news:
            late = LateFactRecorded(
                attempt_id=attempt.attempt_id, fact="submitted", request_id=news
            )
            draft.record_generation(command.stream, state.owner, late)
        return finish(draft)
    if news:
        assert attempt.phase in (AttemptPhase.SUBMITTING, AttemptPhase.LOST)
        submitted = GenerationSubmitted(attempt_id=attempt.attempt_id, request_id=news)
        state = draft.record_generation(command.stream, state.owner, submitted)
    if job.is_leased(now):
        draft.keep_job(replace(job, status=state.status, is_hinted=True))
    else:
        draft.keep_job(replace(job, status=state.status, due_at=now))
    return finish(draft)
