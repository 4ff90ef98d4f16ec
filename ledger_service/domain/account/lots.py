"""New lots: what they repay, and what they take over from the lots they come from."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import LotDerived, Slice
from ledger_service.domain.policy import Policy


def repayment(state: AccountState, amount: int, policy: Policy) -> tuple[int, tuple[Slice, ...]]:
    """How much of new credits goes to debt at once: in all, and of it to open clawback debt by
    lot, the oldest lot first. All lots with open debt must be loaded."""
    if not policy.repay_debt or not state.debt:
        return 0, ()
    left, owed = amount, []
    for lot in sorted([lot for lot in state.lots if lot.owed], key=lambda lot: lot.grant_id):
        part = min(left, lot.owed)
        if part:
            owed.append(Slice(lot.grant_id, part))
            left -= part
    left -= min(left, state.overdraft)
    return amount - left, tuple(owed)


def derived_lot(
    draft: Draft,
    owner: str,
    origin: Lot,
    amount: int,
    *,
    kind: str,
    expires_at: datetime | None,
) -> LotDerived:
    """Credits of `origin`, a lot of the same account, that live on until `expires_at`."""
    return LotDerived(
        grant_id=draft.next_id("grt", owner),
        kind=kind,
        origin=origin.grant_id,
        schedule=origin.schedule if kind == "rollover" else None,
        amount=amount,
        source=origin.source,
        priority=origin.priority,
        effective_at=draft.now if kind == "grace" else origin.expires_at or draft.now,
        expires_at=expires_at,
        unit_cost_micros=origin.unit_cost_micros,
        restrict_to=origin.restrict_to,
    )


def record_arrival(draft: Draft, owner: str, lot: LotDerived) -> None:
    """Record a lot that came from elsewhere: it first repays debt."""
    state = draft.account(owner)
    assert state is not None
    repaid, repaid_owed = repayment(state, lot.amount, draft.policy)
    draft.record(owner, replace(lot, repaid=repaid, repaid_owed=repaid_owed))
