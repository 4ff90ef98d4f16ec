"""What the projections have, against what the log says they should.

Both sides are summed up by hashes, the statements by account, so that the check needs no memory
to speak of. Snapshots are compared with the states that the replay comes through anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg

from ledger_service.audit.fold import Fold
from ledger_service.domain.events import Event
from ledger_service.projections.follower import VERSION
from ledger_service.projections.rows import Place, Rows
from ledger_service.store.heads import SNAPSHOT_VERSION, decode_account, decode_lot
from ledger_service.store.statements import load_statements

Connection = psycopg.Connection[Any]

_SQL: Final = load_statements("replay")
_TABLES: Final = ("entries", "bearings", "lot_uses", "hold_changes")
_ROWS_PER_FETCH: Final = 5_000


class ProjectionCheck:
    """Fed event by event by a replay, within the snapshot that it reads in."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        row = connection.execute(_SQL["projections"]).fetchone()
        assert row is not None, "migrations make the row"
        position, version = row
        self._position = position if version == VERSION else 0  # others will be made anew
        self._sums: dict[tuple[str, str], int] = {}
        self._snapshots: set[tuple[str, int]] = set()
        if self._position:
            self._snapshots = set(self._rows("snapshots", SNAPSHOT_VERSION))

    def see(self, place: Place, event: Event, fold: Fold) -> Iterator[str]:
        """Take in an event, and the state that it leads to; yields what differs already."""
        if place.position > self._position:
            return
        rows = Rows()
        rows.add(place, event)
        for table in _TABLES:
            for row in getattr(rows, table):
                self._add(table, row, 1)
        if rows.entries and (place.owner, place.version) in self._snapshots:
            self._snapshots.discard((place.owner, place.version))
            yield from self._snapshot(place.owner, place.version, fold)

    def differences(self) -> Iterator[str]:
        """What the tables have that the log has not, or the other way round."""
        if not self._position:
            return
        for table in _TABLES:
            with self._connection.cursor(name=table, binary=True) as cursor:
                cursor.itersize = _ROWS_PER_FETCH
                cursor.execute(_SQL[table])
                for row in cursor:
                    self._add(table, row, -1)
        for (table, whose), left in sorted(self._sums.items()):
            if left:
                yield f"{whose or 'the tenants'}: {table} are not what the log says"
        for owner, version in sorted(self._snapshots):
            yield f"{owner} {version}: a snapshot of what never was"

    def _add(self, table: str, row: tuple[Any, ...], sign: int) -> None:
        place = (table, row[0] if table == "entries" else "")
        self._sums[place] = self._sums.get(place, 0) + sign * hash(row)

    def _snapshot(self, owner: str, version: int, fold: Fold) -> Iterator[str]:
        ((stored,),) = self._rows("snapshot", owner, version)
        if decode_account(stored, SNAPSHOT_VERSION) != fold.accounts.get(owner):
            yield f"{owner} {version}: the snapshot is not what the log says"
        shelf = fold.shelves.get(owner, {})
        for grant_id, state in self._rows("past_lots", owner, version):
            if decode_lot(state) != shelf.get(grant_id):
                yield f"{grant_id} {version}: the lot is not what the log says it was"

    def _rows(self, name: str, *values: Any) -> list[Any]:
        return psycopg.RawCursor(self._connection).execute(_SQL[name], values).fetchall()
