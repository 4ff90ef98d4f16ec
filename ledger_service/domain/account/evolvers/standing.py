"""Status, recurring grants, alerts and limits."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.evolvers.lots import Evolver, changed
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.events.standing import (
    AccountClosed,
    AccountFrozen,
    AccountUnfrozen,
    ExpiryComing,
    LimitsSet,
    SchedulesSet,
    ThresholdCrossed,
    ThresholdsSet,
)


def _frozen(_: AccountState, __: AccountFrozen) -> dict[str, Any]:
    return {"status": AccountStatus.FROZEN}


def _unfrozen(_: AccountState, __: AccountUnfrozen) -> dict[str, Any]:
    return {"status": AccountStatus.ACTIVE}


def _closed(state: AccountState, _: AccountClosed) -> dict[str, Any]:
    return {"status": AccountStatus.CLOSED, "terms": replace(state.terms, schedules=())}


def _schedules_set(state: AccountState, event: SchedulesSet) -> dict[str, Any]:
    return {"terms": replace(state.terms, schedules=event.schedules)}


def _thresholds_set(state: AccountState, event: ThresholdsSet) -> dict[str, Any]:
    terms = replace(state.terms, thresholds=event.thresholds, below=event.below)
    return {"terms": terms}


def _threshold_crossed(state: AccountState, event: ThresholdCrossed) -> dict[str, Any]:
    below = {level for level in state.terms.below if level != event.level}
    if event.is_below:
        below.add(event.level)
    return {"terms": replace(state.terms, below=tuple(sorted(below)))}


def _expiry_coming(state: AccountState, event: ExpiryComing) -> dict[str, Any]:
    def announce(lot: Lot, _: int) -> Lot:
        return replace(lot, is_announced=True)

    return {"lots": changed(state.lots, event.slices, announce)}


def _limits_set(state: AccountState, event: LimitsSet) -> dict[str, Any]:
    # Counters stay, also of limits that are gone: one that comes back is no fresh start.
    return {"terms": replace(state.terms, limits=event.limits)}


EVOLVERS: Final[dict[type[AccountEvent], Evolver]] = {
    AccountFrozen: _frozen,
    AccountUnfrozen: _unfrozen,
    AccountClosed: _closed,
    SchedulesSet: _schedules_set,
    ThresholdsSet: _thresholds_set,
    ThresholdCrossed: _threshold_crossed,
    ExpiryComing: _expiry_coming,
    LimitsSet: _limits_set,
}
