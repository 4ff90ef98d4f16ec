"""Opening, grants, debits, refunds, derived lots and expiry."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ledger_service.domain.account.evolvers.counters import counted, given_back
from ledger_service.domain.account.evolvers.lots import Evolver, changed, inserted, repaid, total
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.account.terms import Terms
from ledger_service.domain.events.account import (
    AccountEvent,
    CommandAccepted,
    CommandVoided,
    CreditLimitChanged,
    CreditsDebited,
    CreditsExpired,
    CreditsGranted,
    DebitRefunded,
    LotDerived,
    Slice,
)


def _granted(state: AccountState, event: CreditsGranted) -> dict[str, Any]:
    changes = _arrived(state, event, _new_lot(event, kind="grant"))
    changes["totals"] = replace(state.totals, granted=state.totals.granted + event.amount)
    if event.schedule is not None:
        changes["terms"] = _advanced(state.terms, event)
    return changes


def _new_lot(event: CreditsGranted | LotDerived, **more: Any) -> Lot:
    return Lot(
        grant_id=event.grant_id,
        source=event.source,
        amount=event.amount,
        remaining=event.amount - event.repaid,
        repaid=event.repaid,
        priority=event.priority,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        unit_cost_micros=event.unit_cost_micros,
        restrict_to=event.restrict_to,
        schedule=event.schedule,
        **more,
    )


def _arrived(state: AccountState, event: CreditsGranted | LotDerived, lot: Lot) -> dict[str, Any]:
    """A new lot, part of which may have repaid debt: that of lots first, then overdraft."""
    if not event.repaid:
        return {"lots": inserted(state.lots, lot)}
    of_lots = total(event.repaid_owed)
    return {
        "lots": inserted(repaid(state.lots, event.repaid_owed), lot),
        "owed": state.owed - of_lots,
        "overdraft": state.overdraft - (event.repaid - of_lots),
    }


def _advanced(terms: Terms, event: CreditsGranted) -> Terms:
    assert event.period is not None
    schedules = [
        replace(schedule, period=event.period + 1, next_at=event.next_period_at)
        if schedule.schedule_id == event.schedule
        else schedule
        for schedule in terms.schedules
    ]
    granted_until = terms.granted_until | {str(event.schedule): event.effective_at}
    return replace(terms, schedules=tuple(schedules), granted_until=granted_until)


def _debited(state: AccountState, event: CreditsDebited) -> dict[str, Any]:
    def spend(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, spent=lot.spent + amount)

    changes: dict[str, Any] = {
        "lots": changed(state.lots, event.slices, spend),
        "overdraft": state.overdraft + event.on_credit,
        "totals": replace(state.totals, spent=state.totals.spent + event.amount),
    }
    if event.limits:
        changes["terms"] = counted(state.terms, event.limits, event.amount)
    return changes


def _refunded(state: AccountState, event: DebitRefunded) -> dict[str, Any]:
    def give_back(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining + amount, spent=lot.spent - amount)

    # What comes back as a restored lot leaves `spent` with the event that makes that lot.
    returned = event.amount - event.restored
    changes: dict[str, Any] = {
        "lots": changed(state.lots, event.slices, give_back),
        "overdraft": state.overdraft - event.debt_cancelled,
        "totals": replace(state.totals, spent=state.totals.spent - returned),
    }
    if event.limits:
        changes["terms"] = given_back(state.terms, event.limits, event.amount)
    return changes


def _derived(state: AccountState, event: LotDerived) -> dict[str, Any]:
    lot = _new_lot(event, kind=event.kind, origin=event.origin, from_account=event.from_account)
    totals = state.totals
    if event.kind == "transfer":
        totals = replace(totals, transferred_in=totals.transferred_in + event.amount)
    elif event.kind == "restored":
        totals = replace(totals, spent=totals.spent - event.amount)
    elif event.kind == "reinstated":
        totals = replace(totals, clawed_back=totals.clawed_back - event.amount)
    else:
        assert event.origin is not None
        state = replace(
            state, lots=changed(state.lots, (Slice(event.origin, event.amount),), _move)
        )
    return _arrived(state, event, lot) | {"totals": totals}


def _move(lot: Lot, amount: int) -> Lot:
    return replace(lot, remaining=lot.remaining - amount, moved=lot.moved + amount)


def _expired(state: AccountState, event: CreditsExpired) -> dict[str, Any]:
    def expire(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, expired=lot.expired + amount)

    return {
        "lots": changed(state.lots, event.slices, expire),
        "totals": replace(state.totals, expired=state.totals.expired + event.amount),
    }


def _limited(_: AccountState, event: CreditLimitChanged) -> dict[str, Any]:
    return {"credit_limit": event.credit_limit}


def _nothing(_: AccountState, __: AccountEvent) -> dict[str, Any]:
    return {}


EVOLVERS: Final[dict[type[AccountEvent], Evolver]] = {
    CreditsGranted: _granted,
    CreditsDebited: _debited,
    DebitRefunded: _refunded,
    LotDerived: _derived,
    CreditsExpired: _expired,
    CreditLimitChanged: _limited,
    CommandAccepted: _nothing,
    CommandVoided: _nothing,
}
