"""Holds: credits set aside, spent or freed."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ledger_service.domain.account.evolvers.counters import counted, given_back
from ledger_service.domain.account.evolvers.lots import Evolver, Lots, changed, total
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events.account import AccountEvent, Slice
from ledger_service.domain.events.holds import (
    HoldCaptured,
    HoldEnded,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    HoldsReleased,
)


def _placed(state: AccountState, event: HoldPlaced) -> dict[str, Any]:
    def hold(lot: Lot, amount: int) -> Lot:
        return replace(lot, held=lot.held + amount)

    changes: dict[str, Any] = {
        "lots": changed(state.lots, event.slices, hold),
        "held_on_credit": state.held_on_credit + event.on_credit,
    }
    if event.limits:
        changes["terms"] = counted(state.terms, event.limits, event.hold.amount)
    return changes


def _freed(lots: Lots, slices: tuple[Slice, ...]) -> Lots:
    def free(lot: Lot, amount: int) -> Lot:
        return replace(lot, held=lot.held - amount)

    return changed(lots, slices, free)


def _ended(state: AccountState, event: HoldEnded) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "lots": _freed(state.lots, event.freed),
        "held_on_credit": state.held_on_credit - event.freed_on_credit,
    }
    if event.limits:
        freed = total(event.freed) + event.freed_on_credit
        changes["terms"] = given_back(state.terms, event.limits, freed)
    return changes


def _captured(state: AccountState, event: HoldCaptured) -> dict[str, Any]:
    def spend(lot: Lot, amount: int) -> Lot:
        return replace(
            lot,
            held=lot.held - amount,
            remaining=lot.remaining - amount,
            spent=lot.spent + amount,
        )

    changes = _ended(state, event)
    changes["lots"] = changed(changes["lots"], event.slices, spend)
    changes["held_on_credit"] -= event.on_credit
    changes["overdraft"] = state.overdraft + event.on_credit
    changes["totals"] = replace(state.totals, spent=state.totals.spent + event.amount)
    return changes


def _many_released(state: AccountState, event: HoldsReleased) -> dict[str, Any]:
    terms = state.terms
    for use, amount in event.limits:
        terms = given_back(terms, (use,), amount)
    return {
        "lots": _freed(state.lots, event.freed),
        "held_on_credit": state.held_on_credit - event.freed_on_credit,
        "terms": terms,
    }


def _extended(_: AccountState, __: HoldExtended) -> dict[str, Any]:
    return {}


EVOLVERS: Final[dict[type[AccountEvent], Evolver]] = {
    HoldPlaced: _placed,
    HoldCaptured: _captured,
    HoldReleased: _ended,
    HoldExpired: _ended,
    HoldExtended: _extended,
    HoldsReleased: _many_released,
}
