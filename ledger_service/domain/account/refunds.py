"""Refunds: a debit's slices undone in reverse order."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from contracts.limits import PRIORITY_DEFAULT
from contracts.problems import ProblemCode
from ledger_service.domain.account.freed import need_to_free, settle_freed
from ledger_service.domain.account.lots import record_arrival
from ledger_service.domain.account.settle import settle_first
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT
from ledger_service.domain.commands import Key, RefundDebit
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import DebitRefunded, LotDerived, Slice
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import version_in
from ledger_service.domain.world import DebitState, Need, Outcome, Refusal, World

NO_SUCH_DEBIT: Final = Refusal(ProblemCode.DEBIT_NOT_FOUND)


class Undo(msgspec.Struct, frozen=True, kw_only=True):
    """How `amount` credits of a debit come back."""

    on_credit: int
    slices: tuple[Slice, ...]
    slices_refunded: tuple[int, ...]


def decide_refund(world: World, command: RefundDebit, now: datetime) -> Outcome:
    """Never more than what is left of the debit, and only to the account it came from."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if version_in("dbt", command.debit_id, command.owner) is None:
        return NO_SUCH_DEBIT  # even when a neighbour in the batch has loaded it
    if command.debit_id not in world.debits:
        return Need(debits=frozenset(((command.owner, command.debit_id),)))
    debit = world.debits[command.debit_id]
    if debit is None:
        return NO_SUCH_DEBIT
    amount = debit.left if command.amount is None else command.amount
    if amount > debit.left or amount == 0:
        numbers = {"refundable": debit.left, "requested": amount}
        return Refusal(ProblemCode.REFUND_EXCEEDS_DEBIT, numbers)
    draft = Draft(world, command, now)
    need = record_refund(
        draft, command.owner, debit, amount, reason=command.reason, private=command.private
    )
    return need or finish(draft, http_status=201)


def record_refund(
    draft: Draft,
    owner: str,
    debit: DebitState,
    amount: int,
    *,
    key: Key | None = None,
    reason: str | None = None,
    private: str | None = None,
) -> Need | None:
    """Record the refund and what follows from it, or say which lots must be loaded first."""
    state = draft.account(owner)
    assert state is not None
    assert 0 < amount <= debit.left
    undo = plan_undo(debit, amount)
    if need := need_to_free(state, undo.slices, draft.now, adds_lot=undo.on_credit > 0):
        return need
    settle_first(draft, owner)
    refund = _refund_event(draft, owner, debit, amount, undo)
    draft.record(owner, replace(refund, reason=reason, private=private), key)
    draft.answer_here()
    settle_freed(draft, owner, undo.slices)
    if refund.restored:
        record_arrival(draft, owner, _restored_lot(draft, owner, refund.restored))
    draft.keep_debit(
        replace(
            debit,
            refunded=refund.refunded,
            slices_refunded=refund.slices_refunded,
            credit_refunded=refund.credit_refunded,
        )
    )
    return None


def plan_undo(debit: DebitState, amount: int) -> Undo:
    """Undo in reverse order: first what was on credit, then the lots from the last one back."""
    on_credit = min(amount, debit.on_credit - debit.credit_refunded)
    wanted = amount - on_credit
    refunded = list(debit.slices_refunded)
    slices = []
    for index in range(len(debit.slices) - 1, -1, -1):
        taken = debit.slices[index]
        back = min(wanted, taken.amount - refunded[index])
        if back > 0:
            slices.append(Slice(taken.grant_id, back))
            refunded[index] += back
            wanted -= back
    assert wanted == 0, "the caller has checked what is left of the debit"
    return Undo(on_credit=on_credit, slices=tuple(slices), slices_refunded=tuple(refunded))


def _refund_event(
    draft: Draft, owner: str, debit: DebitState, amount: int, undo: Undo
) -> DebitRefunded:
    state = draft.account(owner)
    assert state is not None
    cancelled = min(undo.on_credit, state.overdraft)
    return DebitRefunded(
        refund_id=draft.next_id("rfd", owner),
        debit_id=debit.debit_id,
        amount=amount,
        slices=undo.slices,
        debt_cancelled=cancelled,
        restored=undo.on_credit - cancelled,
        debit_amount=debit.amount,
        refunded=debit.refunded + amount,
        slices_refunded=undo.slices_refunded,
        credit_refunded=debit.credit_refunded + undo.on_credit,
        generation_id=debit.generation_id,
        limits=debit.limits,
    )


def _restored_lot(draft: Draft, owner: str, amount: int) -> LotDerived:
    """Credits that had gone into repaying debt come back without an end."""
    return LotDerived(
        grant_id=draft.next_id("grt", owner),
        kind="restored",
        amount=amount,
        source="adjustment",
        priority=PRIORITY_DEFAULT,
        effective_at=draft.now,
    )
