"""An account at any version, from an earlier state of it and the events in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from ledger_service.domain.account.evolve import evolve, touched_lots
from ledger_service.domain.account.state import AccountState, Lot, burn_key
from ledger_service.domain.events.account import AccountEvent, CreditsGranted, LotDerived
from ledger_service.errors import CorruptHistory


class Happened(NamedTuple):
    """An event with its place in the account's stream."""

    version: int
    event: AccountEvent
    recorded_at: datetime


class Folded(NamedTuple):
    """An account with all its live lots; and those of the others that the fold has touched."""

    state: AccountState
    left: dict[str, Lot]


def missing_lots(before: AccountState | None, events: Sequence[Happened]) -> set[str]:
    """Lots that must come from elsewhere: the events touch them, and `before` has them no more."""
    missing: set[str] = set()
    known = {lot.grant_id for lot in before.lots} if before else set()
    for happened in events:
        missing.update(it for it in touched_lots(happened.event) if it not in known)
        if isinstance(happened.event, CreditsGranted | LotDerived):
            known.add(happened.event.grant_id)
    return missing


def fold(before: AccountState | None, left: Sequence[Lot], events: Sequence[Happened]) -> Folded:
    """Fold `events` onto `before`, which has all live lots; `left` are the `missing_lots`.

    Lots that no event touches stay aside, so that the cost does not grow with their number.
    Raises `CorruptHistory` when the balances in the events are not what they fold to.
    """
    touched = {it for happened in events for it in touched_lots(happened.event)}
    idle: list[Lot] = []
    state = before
    if before is not None:
        active = [lot for lot in before.lots if lot.grant_id in touched]
        idle = [lot for lot in before.lots if lot.grant_id not in touched]
        state = replace(before, lots=tuple(sorted([*active, *left], key=burn_key)))
    for happened in events:
        state = evolve(state, happened.event, happened.version, happened.recorded_at)
    assert state is not None, "an account has at least one event"
    live = [*idle, *(lot for lot in state.lots if lot.is_live)]
    folded = replace(state, lots=tuple(sorted(live, key=burn_key)))
    _check(folded, events)
    return Folded(folded, {lot.grant_id: lot for lot in state.lots if not lot.is_live})


def _check(state: AccountState, events: Sequence[Happened]) -> None:
    if not events:
        return
    said = events[-1].event
    if (said.posted, said.held) != (state.posted, state.held):
        raise CorruptHistory(f"{state.owner} {state.version}: not the balances that its events say")
