"""What each account event means for the state. Sees neither the clock nor policy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.state import AccountState, Lot, burn_key, find_lot
from ledger_service.domain.events.account import (
    AccountEvent,
    AccountOpened,
    CommandAccepted,
    CreditLimitChanged,
    CreditsDebited,
    CreditsExpired,
    CreditsGranted,
    DebitRefunded,
    LotDerived,
    Slice,
)


def evolve(
    state: AccountState | None, event: AccountEvent, version: int, recorded_at: datetime
) -> AccountState:
    """The state after `event`, which was recorded as `version` of the stream."""
    if isinstance(event, AccountOpened):
        assert state is None, "an account opens once"
        return _opened(event, version, recorded_at)
    assert state is not None, "an account opens before anything else happens on it"
    assert version == state.version + 1, (version, state.version)
    changes = _EVOLVERS[type(event)](state, event)
    return replace(state, version=version, recorded_at=recorded_at, **changes)


def touched_lots(event: AccountEvent) -> tuple[str, ...]:
    """Ids of existing lots that must be loaded before the event can be folded."""
    if isinstance(event, CreditsDebited | DebitRefunded | CreditsExpired):
        return tuple([taken.grant_id for taken in event.slices])
    if isinstance(event, LotDerived) and event.origin is not None:
        return (event.origin,)
    return ()


def _opened(event: AccountOpened, version: int, recorded_at: datetime) -> AccountState:
    return AccountState(
        tenant=event.tenant,
        account_id=event.account_id,
        unit=event.unit,
        status=AccountStatus.ACTIVE,
        opened_at=recorded_at,
        version=version,
        recorded_at=recorded_at,
        credit_limit=event.credit_limit,
    )


def _granted(state: AccountState, event: CreditsGranted) -> dict[str, Any]:
    lot = Lot(
        grant_id=event.grant_id,
        kind="grant",
        source=event.source,
        amount=event.amount,
        remaining=event.amount - event.repaid,
        repaid=event.repaid,
        priority=event.priority,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        unit_cost_micros=event.unit_cost_micros,
        restrict_to=event.restrict_to,
    )
    totals = replace(state.totals, granted=state.totals.granted + event.amount)
    return {
        "lots": _inserted(state.lots, lot),
        "overdraft": state.overdraft - event.repaid,
        "totals": totals,
    }


def _debited(state: AccountState, event: CreditsDebited) -> dict[str, Any]:
    def spend(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, spent=lot.spent + amount)

    return {
        "lots": _changed(state.lots, event.slices, spend),
        "overdraft": state.overdraft + event.on_credit,
        "totals": replace(state.totals, spent=state.totals.spent + event.amount),
    }


def _refunded(state: AccountState, event: DebitRefunded) -> dict[str, Any]:
    def give_back(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining + amount, spent=lot.spent - amount)

    # What comes back as a restored lot leaves `spent` with the event that makes that lot.
    returned = event.amount - event.restored
    return {
        "lots": _changed(state.lots, event.slices, give_back),
        "overdraft": state.overdraft - event.debt_cancelled,
        "totals": replace(state.totals, spent=state.totals.spent - returned),
    }


def _derived(state: AccountState, event: LotDerived) -> dict[str, Any]:
    def move(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, moved=lot.moved + amount)

    lots, totals = state.lots, state.totals
    if event.origin is None:
        totals = replace(totals, spent=totals.spent - event.amount)
    else:
        lots = _changed(lots, (Slice(event.origin, event.amount),), move)
    lot = Lot(
        grant_id=event.grant_id,
        kind=event.kind,
        source=event.source,
        amount=event.amount,
        remaining=event.amount,
        priority=event.priority,
        effective_at=event.effective_at,
        expires_at=event.expires_at,
        unit_cost_micros=event.unit_cost_micros,
        restrict_to=event.restrict_to,
        origin=event.origin,
    )
    return {"lots": _inserted(lots, lot), "totals": totals}


def _expired(state: AccountState, event: CreditsExpired) -> dict[str, Any]:
    def expire(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, expired=lot.expired + amount)

    return {
        "lots": _changed(state.lots, event.slices, expire),
        "totals": replace(state.totals, expired=state.totals.expired + event.amount),
    }


def _limited(_: AccountState, event: CreditLimitChanged) -> dict[str, Any]:
    return {"credit_limit": event.credit_limit}


def _accepted(_: AccountState, __: CommandAccepted) -> dict[str, Any]:
    return {}


def _changed(
    lots: tuple[Lot, ...], slices: tuple[Slice, ...], change: Callable[[Lot, int], Lot]
) -> tuple[Lot, ...]:
    amounts = {taken.grant_id: taken.amount for taken in slices}
    assert len(amounts) == len(slices), "a lot stands in an event once"
    assert all(find_lot(lots, grant_id) for grant_id in amounts), "load the lots first"
    return tuple(
        [change(lot, amounts[lot.grant_id]) if lot.grant_id in amounts else lot for lot in lots]
    )


def _inserted(lots: tuple[Lot, ...], lot: Lot) -> tuple[Lot, ...]:
    return tuple(sorted([*lots, lot], key=burn_key))


_EVOLVERS: Final[dict[type[AccountEvent], Callable[[AccountState, Any], dict[str, Any]]]] = {
    CreditsGranted: _granted,
    CreditsDebited: _debited,
    DebitRefunded: _refunded,
    LotDerived: _derived,
    CreditsExpired: _expired,
    CreditLimitChanged: _limited,
    CommandAccepted: _accepted,
}
