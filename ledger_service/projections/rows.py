"""What events become in the projections: rows, gathered as one list per column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from ledger_service.domain.account.entries import entry_type, movement_of, reference_of
from ledger_service.domain.bearings import bearings_of, changed_holds, uses_of
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.ids import split_owner
from ledger_service.store.arrays import plain_array, text_array, time_array


class Place(NamedTuple):
    """Where and when an event was recorded, and by whom."""

    position: int
    owner: str
    version: int
    recorded_at: datetime
    actor: str | None


EntryRow = tuple[str, int, int, str, int, str, int, int, datetime, str | None, str | None]
BearingRow = tuple[str, str, int, int, str, str, str, int, datetime]
LotUseRow = tuple[str, str, int, int]
HoldChangeRow = tuple[str, str, int]

_ARRAYS: Final[dict[str, Callable[[Any], str]]] = {
    "t": text_array,
    "n": plain_array,
    "i": time_array,
}


class Rows(msgspec.Struct, kw_only=True):
    """The rows of a stretch of the log, in the order of their tables' columns."""

    entries: list[EntryRow] = msgspec.field(default_factory=list)
    bearings: list[BearingRow] = msgspec.field(default_factory=list)
    lot_uses: list[LotUseRow] = msgspec.field(default_factory=list)
    hold_changes: list[HoldChangeRow] = msgspec.field(default_factory=list)

    def add(self, place: Place, event: Event) -> None:
        """Everything that one event becomes."""
        self.bearings += bearing_rows(place, event)
        if isinstance(event, AccountEvent):
            self.entries.append(entry_row(place, event))
            self.lot_uses += lot_use_rows(place, event)
            self.hold_changes += hold_change_rows(place, event)

    def statements(self) -> list[tuple[str, tuple[str, ...]]]:
        """The inserts that are needed, by the names of `queries/projections.sql`."""
        tables: tuple[tuple[str, str, list[Any]], ...] = (
            ("add_entries", "tnntntnnitt", self.entries),
            ("add_bearings", "ttnntttni", self.bearings),
            ("add_lot_uses", "ttnn", self.lot_uses),
            ("add_hold_changes", "ttn", self.hold_changes),
        )
        return [(name, columns(kinds, rows)) for name, kinds, rows in tables if rows]


def columns(kinds: str, rows: list[Any]) -> tuple[str, ...]:
    """Rows as array literals, one per column: `t`ext, `n`umber or `i`nstant."""
    by_column: list[Any] = list(zip(*rows, strict=True))
    return tuple([_ARRAYS[kind](column) for kind, column in zip(kinds, by_column, strict=True)])


def entry_row(place: Place, event: AccountEvent) -> EntryRow:
    """A line of the account's statement."""
    amount, direction = movement_of(event)
    return (
        place.owner,
        place.version,
        place.position,
        entry_type(event),
        amount,
        direction.value,
        event.posted,
        event.held,
        place.recorded_at,
        reference_of(event),
        place.actor,
    )


def bearing_rows(place: Place, event: Event) -> list[BearingRow]:
    """What bears a caller's reference because of the event."""
    found = bearings_of(event)
    if not found:
        return []
    tenant = split_owner(place.owner)[0]
    return [
        (
            tenant,
            bearing.reference,
            place.position,
            ordinal,
            place.owner,
            bearing.kind,
            bearing.id,
            bearing.amount,
            place.recorded_at,
        )
        for ordinal, bearing in enumerate(found)
    ]


def lot_use_rows(place: Place, event: AccountEvent) -> list[LotUseRow]:
    """The lots that paid, if it is a debit."""
    uses = uses_of(event)
    return [(place.owner, taken.grant_id, place.version, taken.amount) for taken in uses]


def hold_change_rows(place: Place, event: AccountEvent) -> list[HoldChangeRow]:
    """The holds that it placed or changed."""
    return [(place.owner, hold_id, place.version) for hold_id in changed_holds(event)]
