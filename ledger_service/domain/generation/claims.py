"""Claims: permission for one step, guarded by a fence and a lease."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from contracts.jobs import Step
from contracts.limits import (
    ATTEMPTS_MAX,
    LEASE_SECONDS,
    POST_WINDOW_SECONDS,
    UNREPORTED_CLAIMS_MAX,
)
from contracts.problems import ProblemCode
from ledger_service.domain.commands import ClaimGeneration
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.generation import (
    GenerationFailed,
    SubmissionLost,
    SubmissionStarted,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.endings import end_generation
from ledger_service.domain.generation.state import AttemptPhase, Claimed, GenerationState, Job
from ledger_service.domain.ids import generation_stream, make_id
from ledger_service.domain.world import Outcome, Refusal, World

LEASE: Final = timedelta(seconds=LEASE_SECONDS)
POST_WINDOW: Final = timedelta(seconds=POST_WINDOW_SECONDS)


def decide_claim(world: World, command: ClaimGeneration, now: datetime) -> Outcome:
    """Grant the next step if the job is due, or end a job that has had too many."""
    state = world.generations[command.stream]
    if state is None:
        return Refusal(ProblemCode.GENERATION_NOT_FOUND)
    job = world.jobs[command.generation_id]
    if job.due_at is None or job.due_at > now:
        numbers = {"generation_status": state.status, "due_at": job.due_at}
        return Refusal(ProblemCode.NOT_DUE, numbers)
    draft = Draft(world, command, now)
    if reason := _exhausted(state, job):
        ending = GenerationFailed(reason=reason, retryable=True)
        return end_generation(world, draft, state, job, ending) or finish(draft)
    return finish(draft, result=grant_claim(draft, state, job, command.worker))


def grant_claim(draft: Draft, state: GenerationState, job: Job, worker: str) -> Claimed:
    """Take the job for `worker`: a new fence, a new lease, and for a submit a new attempt."""
    step = Step.FETCH if job.to_fetch else Step.POLL
    attempt = state.live_attempt
    stream = generation_stream(state.owner, state.generation_id)
    if attempt is None:
        step = Step.SUBMIT
        state = _start_attempt(draft, state, stream, worker)
    elif attempt.phase is AttemptPhase.SUBMITTING:
        # Its worker never came back: the POST may or may not have left.
        lost = SubmissionLost(attempt_id=attempt.attempt_id, reason="worker_silent")
        state = draft.record_generation(stream, state.owner, lost)
    leased = replace(
        job,
        status=state.status,
        fence=job.fence + 1,
        is_hinted=False,
        lease_until=draft.now + LEASE,
        due_at=draft.now + LEASE,
        unreported=job.unreported + 1,
        worker=worker,
    )
    draft.keep_job(leased)
    return Claimed(state=state, job=leased, step=step)


def _start_attempt(
    draft: Draft, state: GenerationState, stream: str, worker: str
) -> GenerationState:
    started = SubmissionStarted(
        attempt_id=make_id("att", draft.now, stream, state.version + 1),
        number=len(state.attempts) + 1,
        post_before=draft.now + POST_WINDOW,
        worker=worker,
    )
    return draft.record_generation(stream, state.owner, started)


def _exhausted(state: GenerationState, job: Job) -> str | None:
    if job.unreported >= UNREPORTED_CLAIMS_MAX:
        return "too_many_claims"
    if state.live_attempt is None and state.tries >= ATTEMPTS_MAX:
        return "too_many_attempts"
    return None
