"""The writer's connection to tables in memory, with everything that befalls a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Final

from ledger_service.domain.account.state import Lot
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted, LotDerived
from ledger_service.domain.events.holds import HoldCaptured
from ledger_service.domain.ids import version_in
from ledger_service.domain.world import DebitState, GrantFacts, HoldState, LotKey, debit_state
from ledger_service.errors import Contention
from ledger_service.store.columns import EventColumns, HeadColumns
from ledger_service.store.heads import decode_hold, decode_lot
from ledger_service.store.writing import (
    LOG,
    ConnectionLost,
    DatabaseUnfit,
    KeyRow,
    Loaded,
    Wanted,
    WritingConnection,
)
from tests.simulation.faults import Faults
from tests.simulation.tables import EventRow, Place, Tables

CLOCK_SET_BACK: Final = timedelta(seconds=3)


class ProcessKilled(BaseException):
    """`kill -9` of the ledger process that stands here; nothing of it may catch this."""


class MemoryConnection(WritingConnection):
    """One transaction at a time, with row locks. `meanwhile` lets another process commit between
    this one's reads and its commit, as far as the locks allow it."""

    def __init__(
        self, tables: Tables, faults: Faults, meanwhile: Callable[[Iterable[Place]], None]
    ) -> None:
        self._tables = tables
        self._faults = faults
        self._meanwhile = meanwhile
        self._locks: list[Place] = []

    def close(self) -> None:
        """The server rolls back what was open."""
        self._unlock()

    def begin(self, wanted: Wanted) -> Loaded:
        """Lock the heads that exist, then read."""
        if self._faults.strikes("connection_lost"):
            raise ConnectionLost("begin", commit_sent=False)
        if self._faults.strikes("database_unfit"):
            raise DatabaseUnfit("read-only")
        tables = self._tables
        self._lock([place for place in wanted.streams if place in tables.heads])
        back = CLOCK_SET_BACK if self._faults.strikes("clock_set_back") else timedelta()
        policies = [(owner, owner) for owner in wanted.policies]
        return Loaded(
            now=tables.now() - back,
            heads=[tables.heads[place].head for place in self._locks],
            keys=[_key_row(tables.by_key[key]) for key in wanted.keys if key in tables.by_key],
            jobs=[tables.jobs[place].job for place in wanted.jobs if place in tables.jobs],
            subject_keys={
                owner: tables.subject_keys[owner]
                for owner in wanted.subjects
                if owner in tables.subject_keys
            },
            policies=[tables.heads[place].head for place in policies if place in tables.heads],
        )

    def load_debits(self, wanted: Iterable[tuple[str, str]]) -> dict[str, DebitState | None]:
        """By the event that an id locates."""
        found: dict[str, DebitState | None] = {}
        for owner, debit_id in wanted:
            found[debit_id] = None
            event = self._located("dbt", owner, debit_id)
            if isinstance(event, CreditsDebited | HoldCaptured) and event.debit_id == debit_id:
                row = self._tables.debit_refunds.get((owner, debit_id))
                found[debit_id] = debit_state(event, row["given_back"] if row else None)
        return found

    def load_grants(self, wanted: Iterable[LotKey]) -> dict[LotKey, GrantFacts | None]:
        """By the event that an id locates."""
        found: dict[LotKey, GrantFacts | None] = {}
        for owner, grant_id in wanted:
            found[owner, grant_id] = None
            event = self._located("grt", owner, grant_id)
            if isinstance(event, CreditsGranted | LotDerived) and event.grant_id == grant_id:
                version = version_in("grt", grant_id, owner) or 0
                at = self._tables.by_place[owner, owner, version].recorded_at
                found[owner, grant_id] = GrantFacts(event=event, created_at=at)
        return found

    def load_derived(self, wanted: Iterable[LotKey]) -> dict[LotKey, tuple[LotKey, ...]]:
        """By the rows' origins."""
        rows = self._tables.lots
        return {
            key: tuple(p for p, row in rows.items() if (row["origin_owner"], row["origin"]) == key)
            for key in wanted
        }

    def load_holds(self, wanted: Iterable[tuple[str, str]]) -> dict[str, HoldState | None]:
        """Open or not."""
        rows = self._tables.holds
        return {
            place[1]: decode_hold(rows[place]["state"].encode()) if place in rows else None
            for place in wanted
        }

    def load_open_holds(self, owner: str, reference: str, most: int) -> dict[str, HoldState]:
        """The oldest first."""
        found = {
            place[1]: decode_hold(row["state"].encode())
            for place, row in sorted(self._tables.holds.items())
            if (place[0], row["reference"], row["status"]) == (owner, reference, "open")
        }
        return dict(list(found.items())[:most])

    def load_lots(self, wanted: Iterable[tuple[str, str]]) -> dict[str, list[Lot]]:
        """Rows by their key."""
        return self._lots_at([place for place in wanted if place in self._tables.lots])

    def load_lots_beyond(self, owners: list[str]) -> dict[str, list[Lot]]:
        """Rows that overflowed the head."""
        rows = self._tables.lots
        return self._lots_at(
            [p for p, row in rows.items() if p[0] in owners and row["place"] == "o"]
        )

    def commit(self, events: EventColumns, heads: HeadColumns, rows: dict[str, Any]) -> int:
        """Append; or be struck just before, or just after."""
        if self._faults.strikes("killed_before_commit"):
            self._unlock()
            raise ProcessKilled
        if self._faults.strikes("commit_lost"):
            raise ConnectionLost("commit", commit_sent=True)
        if self._faults.strikes("contention"):
            raise Contention("deadlock")
        if self._faults.strikes("other_writer_first"):
            self._meanwhile(self._tables.locked)
        base = self._tables.append(events, heads, rows)
        self._unlock()
        if self._faults.strikes("killed_after_commit"):
            raise ProcessKilled
        if self._faults.strikes("answer_lost"):
            raise ConnectionLost("commit", commit_sent=True)
        return base

    def end(self) -> None:
        """Nothing was written."""
        self._unlock()

    def rollback(self) -> None:
        """Give the locks back."""
        self._unlock()

    def _lots_at(self, places: list[Place]) -> dict[str, list[Lot]]:
        lots: dict[str, list[Lot]] = {}
        for place in places:
            lot = decode_lot(self._tables.lots[place]["state"].encode())
            lots.setdefault(place[0], []).append(lot)
        return lots

    def _located(self, prefix: str, owner: str, text: str) -> Any:
        version = version_in(prefix, text, owner)
        row = self._tables.by_place.get((owner, owner, version or 0))
        return decode(row.topic, row.state) if row else None

    def _lock(self, places: list[Place]) -> None:
        assert not self._locks, "a transaction was left open"
        if any(place in self._tables.locked for place in places):
            raise Contention("lock_timeout")
        self._locks = places
        self._tables.locked.update(dict.fromkeys(places, self))

    def _unlock(self) -> None:
        for place in self._locks:
            del self._tables.locked[place]
        self._locks = []


def _key_row(row: EventRow) -> KeyRow:
    assert row.key_space is not None
    assert row.key_digest is not None
    return KeyRow(
        log=LOG,
        position=row.position,
        owner=row.owner,
        stream=row.stream,
        version=row.version,
        topic=row.topic,
        state=row.state,
        recorded_at=row.recorded_at,
        actor=row.actor,
        fingerprint=row.fingerprint,
        trace_id=row.trace_id,
        key_space=row.key_space,
        key_digest=row.key_digest,
    )
