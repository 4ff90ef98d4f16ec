"""Endings without an asset: the outcome and its compensation are one transaction."""

from __future__ import annotations

from msgspec.structs import replace

from ledger_service.domain.account.refunds import record_refund
from ledger_service.domain.commands import Key
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import DebitRefunded
from ledger_service.domain.events.generation import GenerationEnded
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.ids import generation_stream
from ledger_service.domain.world import Need, World


def end_generation(
    world: World, draft: Draft, state: GenerationState, job: Job, ending: GenerationEnded
) -> Need | None:
    """Refund exactly what is left of the debit, then end; or say what must be loaded first."""
    refund = give_back(world, draft, state)
    if isinstance(refund, Need):
        return refund
    if refund is not None:
        ending = replace(ending, refund_id=refund.refund_id, refunded=refund.amount)
    stream = generation_stream(state.owner, state.generation_id)
    ended = draft.record_generation(stream, state.owner, ending)
    draft.keep_job(finished(job, ended))
    return None


def finished(job: Job, state: GenerationState) -> Job:
    """The row of a job that nobody needs to look at again; its last fence is spent."""
    return replace(job, status=state.status, due_at=None, lease_until=None, to_fetch=False)


def give_back(
    world: World, draft: Draft, state: GenerationState, most: int | None = None
) -> DebitRefunded | Need | None:
    """Refund what is left of the debit, or `most` credits of it; None when there is nothing.

    The refund bears the system key `refund:{generation_id}`: the database itself refuses a
    second one.
    """
    if state.debit_id is None or most == 0:
        return None
    if state.owner not in world.accounts:
        return Need(streams=frozenset((state.owner,)))
    if state.debit_id not in world.debits:
        return Need(debits=frozenset(((state.owner, state.debit_id),)))
    debit = world.debits[state.debit_id]
    assert debit is not None, "the debit was recorded with the generation"
    amount = debit.left if most is None else min(most, debit.left)
    if amount == 0:
        return None
    key = Key("s", f"refund:{state.generation_id}")
    need = record_refund(draft, state.owner, debit, amount, key=key, reason="generation")
    return need or draft.last_refund()
