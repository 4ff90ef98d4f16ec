"""What an owner may still do about a generation: cancel it, delete it."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.api.generations import GenerationStatus
from contracts.problems import ProblemCode
from ledger_service.domain.commands import CancelGeneration, DeleteGeneration, RemoveMedia
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.generation import (
    CancelRequested,
    GenerationCancelled,
    GenerationDeleted,
    MediaRemoved,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.endings import end_generation
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.world import Need, Outcome, Refusal, World

NO_SUCH_GENERATION = Refusal(ProblemCode.GENERATION_NOT_FOUND)


def decide_cancel(world: World, command: CancelGeneration, now: datetime) -> Outcome:
    """Ended and refunded at once while no attempt may be at the provider; else the provider is
    asked to stop, and its verdict decides. To cancel again changes nothing."""
    state = world.generations[command.stream]
    if state is None or state.deleted_at is not None:
        return NO_SUCH_GENERATION
    if state.status.is_final and state.status is not GenerationStatus.CANCELLED:
        return Refusal(ProblemCode.ALREADY_FINISHED, {"generation_status": state.status})
    draft = Draft(world, command, now)
    return _cancel(world, draft, command, state) or finish(draft)


def decide_delete(world: World, command: DeleteGeneration, now: datetime) -> Outcome:
    """Shown no more from now on. One that is under way is cancelled and settled first, unseen."""
    state = world.generations[command.stream]
    if state is None:
        return NO_SUCH_GENERATION
    draft = Draft(world, command, now)
    if state.deleted_at is not None:
        return finish(draft)
    if need := _cancel(world, draft, command, state):
        return need
    draft.record_generation(command.stream, state.owner, GenerationDeleted())
    return finish(draft)


def decide_media_removed(world: World, command: RemoveMedia, now: datetime) -> Outcome:
    """Once."""
    state = world.generations[command.stream]
    if state is None:
        return NO_SUCH_GENERATION
    draft = Draft(world, command, now)
    if state.asset is not None and state.media_removed_at is None:
        draft.record_generation(command.stream, state.owner, MediaRemoved())
    return finish(draft)


def _cancel(
    world: World,
    draft: Draft,
    command: CancelGeneration | DeleteGeneration,
    state: GenerationState,
) -> Need | None:
    if state.status.is_final or state.cancel_requested_at is not None:
        return None
    job = world.jobs[command.generation_id]
    state = draft.record_generation(command.stream, state.owner, CancelRequested())
    if state.live_attempt is None:
        ending = GenerationCancelled(reason="cancelled", retryable=True)
        return end_generation(world, draft, state, job, ending)
    if job.is_leased(draft.now):
        draft.keep_job(replace(job, is_hinted=True))
    else:
        draft.keep_job(replace(job, due_at=draft.now))
    return None
