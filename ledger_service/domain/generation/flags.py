"""Reports of people about a generation."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.limits import FLAGS_MAX
from contracts.problems import ProblemCode
from ledger_service.domain.commands import FlagGeneration
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.generation import GenerationFlagged
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.cancelling import NO_SUCH_GENERATION
from ledger_service.domain.ids import make_id
from ledger_service.domain.world import Outcome, Refusal, World


def decide_flag(world: World, command: FlagGeneration, now: datetime) -> Outcome:
    """Kept beside those before it; nothing else about the generation changes."""
    state = world.generations[command.stream]
    if state is None or state.deleted_at is not None:
        return NO_SUCH_GENERATION
    if len(state.flags) >= FLAGS_MAX:
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": FLAGS_MAX})
    draft = Draft(world, command, now)
    flagged = GenerationFlagged(
        flag_id=make_id("flg", now, command.stream, state.version + 1),
        reason=command.reason,
        private=command.private,
    )
    state = draft.record_generation(command.stream, state.owner, flagged)
    draft.keep_job(replace(world.jobs[command.generation_id], flags=len(state.flags)))
    return finish(draft, http_status=201)
