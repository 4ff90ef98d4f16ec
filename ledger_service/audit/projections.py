"""What the projections have, against what the log says they should.

Both sides are summed up by hashes, the statements by account, so that the check needs no memory
to speak of. Snapshots are compared with the states that the replay comes through anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from ledger_service.audit.fold import Fold
from ledger_service.audit.rows import SQL, Connection, Share
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import AccountEvent
from ledger_service.projections.follower import VERSION
from ledger_service.projections.rows import (
    Place,
    bearing_rows,
    entry_row,
    hold_change_rows,
    lot_use_rows,
)
from ledger_service.store.heads import SNAPSHOT_VERSION, decode_account, decode_lot


class ProjectionCheck:
    """Fed event by event by a replay, within the snapshot that it reads in."""

    def __init__(self, connection: Connection, share: Share) -> None:
        self._connection, self._share = connection, share
        row = connection.execute(SQL["projections"]).fetchone()
        assert row is not None, "migrations make the row"
        position, version = row
        self._position = position if version == VERSION else 0  # others will be made anew
        self._entries: dict[str, int] = {}
        self._sums = dict.fromkeys(("bearings", "lot_uses", "hold_changes"), 0)
        self._snapshots: set[tuple[str, int]] = set()
        if self._position:
            mask, number = share.count - 1, share.number
            self._snapshots = set(self._rows("snapshots", mask, number, SNAPSHOT_VERSION))

    def see(self, place: Place, event: Event, fold: Fold) -> Iterator[str]:
        """Take in an event, and the state that it leads to; yields what differs already."""
        if place.position > self._position:
            return
        for bearing in bearing_rows(place, event):
            self._sums["bearings"] += hash(bearing)
        if not isinstance(event, AccountEvent):
            return
        entries = self._entries
        entries[place.owner] = entries.get(place.owner, 0) + hash(entry_row(place, event))
        for use in lot_use_rows(place, event):
            self._sums["lot_uses"] += hash(use)
        for change in hold_change_rows(place, event):
            self._sums["hold_changes"] += hash(change)
        if self._snapshots and (place.owner, place.version) in self._snapshots:
            self._snapshots.discard((place.owner, place.version))
            yield from self._snapshot(place.owner, place.version, fold)

    def differences(self) -> Iterator[str]:
        """What the tables have that the log has not, or the other way round."""
        if not self._position:
            return
        for row in self._share.rows(self._connection, "entries"):
            self._entries[row[0]] = self._entries.get(row[0], 0) - hash(row)
        for owner, left in sorted(self._entries.items()):
            if left:
                yield f"{owner}: its entries are not what the log says"
        for table, told in self._sums.items():
            if told != sum(map(hash, self._share.rows(self._connection, table))):
                yield f"{table}: not what the log says"
        for owner, version in sorted(self._snapshots):
            yield f"{owner} {version}: a snapshot of what never was"

    def _snapshot(self, owner: str, version: int, fold: Fold) -> Iterator[str]:
        ((stored,),) = self._rows("snapshot", owner, version)
        if decode_account(stored, SNAPSHOT_VERSION) != fold.accounts.get(owner):
            yield f"{owner} {version}: the snapshot is not what the log says"
        shelf = fold.shelves.get(owner, {})
        for grant_id, state in self._rows("past_lots", owner, version):
            if decode_lot(state) != shelf.get(grant_id):
                yield f"{grant_id} {version}: the lot is not what the log says it was"

    def _rows(self, name: str, *values: Any) -> list[Any]:
        return psycopg.RawCursor(self._connection).execute(SQL[name], values).fetchall()
