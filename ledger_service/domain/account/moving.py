"""Credits and debts on their way from one account to another."""

from __future__ import annotations

from collections.abc import Sequence

from ledger_service.domain.account.lots import record_arrival
from ledger_service.domain.account.settle import need_of_lots, settle_first
from ledger_service.domain.account.state import AccountState, Lot, find_lot
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import LotDerived, Slice
from ledger_service.domain.events.transfers import (
    CreditsTransferredOut,
    DebtAssumed,
    DebtForwarded,
)
from ledger_service.domain.ids import make_id, owner_of, split_owner
from ledger_service.domain.world import Need, one


def pass_on(draft: Draft) -> Need | None:
    """Everything that came to a merged account goes on to the one it was merged into, and from
    there on again."""
    todo = draft.touched()
    while todo:
        state = draft.account(todo.pop(0))
        if state is None or state.merged_into is None:
            continue
        if not state.debt and not any(lot.free for lot in state.lots):
            continue
        target = owner_of(state.tenant, state.merged_into)
        if not draft.is_loaded(target):
            return one("streams", target)
        if need := need_to_move(draft, state.owner, target):
            return need
        settle_first(draft, target)
        lots = [Slice(lot.grant_id, lot.free) for lot in state.lots if lot.free]
        if lots:
            move_lots(draft, state.owner, target, lots, is_onward=True)
        move_debt(draft, state.owner, target)
        todo.append(target)
    return None


def need_to_move(draft: Draft, source: str, target: str) -> Need | None:
    """All live lots of both accounts, where either has more than its head holds."""
    for owner in (source, target):
        state = draft.account(owner)
        assert state is not None, "who moves credits has checked that both accounts exist"
        if need := need_of_lots(state, draft.now, adds_lot=True):
            return need
    return None


def move_lots(
    draft: Draft,
    source: str,
    target: str,
    slices: Sequence[Slice],
    *,
    is_merge: bool = False,
    is_onward: bool = False,
    reason: str | None = None,
    private: str | None = None,
) -> None:
    """Move free credits; each lot arrives as a lot with the same terms. Both accounts must have
    been settled before."""
    state = draft.account(source)
    assert state is not None
    transfer_id = draft.next_id("trf", source)
    first = draft.next_version(target)
    ids = [make_id("grt", draft.now, target, first + n) for n in range(len(slices))]
    draft.record(
        source,
        CreditsTransferredOut(
            transfer_id=transfer_id,
            to_account=split_owner(target)[1],
            amount=sum([part.amount for part in slices]),
            slices=tuple(slices),
            derived=tuple(ids),
            is_merge=is_merge,
            is_onward=is_onward,
            reason=reason,
            private=private,
        ),
    )
    if not is_onward and not is_merge:
        draft.answer_here()
    for part, grant_id in zip(slices, ids, strict=True):
        lot = find_lot(state.lots, part.grant_id)
        assert lot is not None
        record_arrival(draft, target, _arriving(state, lot, part.amount, grant_id, transfer_id))


def move_debt(draft: Draft, source: str, target: str) -> None:
    """The target takes over all debt of the source, as overdraft."""
    state = draft.account(source)
    assert state is not None
    if not state.debt:
        return
    owed = tuple([Slice(lot.grant_id, lot.owed) for lot in state.lots if lot.owed])
    to_account, from_account = split_owner(target)[1], split_owner(source)[1]
    draft.record(source, DebtForwarded(to_account=to_account, amount=state.debt, owed=owed))
    draft.record(target, DebtAssumed(from_account=from_account, amount=state.debt))


def _arriving(
    source: AccountState, lot: Lot, amount: int, grant_id: str, transfer_id: str
) -> LotDerived:
    return LotDerived(
        grant_id=grant_id,
        kind="transfer",
        origin=lot.grant_id,
        from_account=source.account_id,
        transfer_id=transfer_id,
        amount=amount,
        source=lot.source,
        priority=lot.priority,
        effective_at=lot.effective_at,
        expires_at=lot.expires_at,
        unit_cost_micros=lot.unit_cost_micros,
        restrict_to=lot.restrict_to,
    )
