"""What the API reads, as states and stored events. Every method may raise `Unavailable`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from ledger_service.domain.account.balance import is_partial
from ledger_service.domain.account.state import AccountState, Lot, find_lot, with_lots
from ledger_service.domain.commands import Key
from ledger_service.domain.events import Event, decode
from ledger_service.store.head_reader import AccountView, HeadReader
from ledger_service.store.heads import decode_account, decode_lot
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements
from ledger_service.store.vault import Vault

STRETCH_MAX: Final = 5_000
"""Events that one request looks at, however few of them match its filters."""
BEFORE_ALL: Final = 2**62
"""A version beyond every version."""

_SQL: Final = load_statements("reads")


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of an account's stream as it stands in the log."""

    log: str
    position: int
    owner: str
    stream: str
    version: int
    event: Event
    recorded_at: datetime
    actor: str | None


class LotsView(NamedTuple):
    """Lots at the database's `now`."""

    lots: list[Lot]
    now: datetime


class LogRow(NamedTuple):
    """An event for those who follow the log; `state` is its stored JSON."""

    log: str
    position: int
    stream: str
    version: int
    topic: str
    recorded_at: datetime
    actor: str | None
    state: bytes
    last_of_command: bool


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which of an account's events are wanted; null means any. `until` is exclusive."""

    topics: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    reference: str | None = None


EVERYTHING: Final = HistoryFilter()


class HistoryPage(NamedTuple):
    """Events, newest first; the next page lies before `next_before`, if there is one."""

    events: list[StoredEvent]
    next_before: int | None


class Reads:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._heads = HeadReader(pool)

    async def account(self, owner: str) -> AccountView | None:
        """The account as it stands now: one row, unless lots beyond its head matter."""
        view = await self._heads.read(owner)
        if view is not None and is_partial(view.state, view.now):
            return await self.whole_account(owner)
        return view

    async def whole_account(self, owner: str) -> AccountView | None:
        """The account with every live lot."""

        async def work(connection: Connection) -> AccountView | None:
            async with snapshot(connection):
                return await _whole(connection, owner)

        return await self._pool.read(work)

    async def history(
        self, owner: str, wanted: HistoryFilter, before: int, limit: int
    ) -> HistoryPage | None:
        """A page of an account's events; None when there is no such account."""
        stretch = limit + 1 if wanted == EVERYTHING else STRETCH_MAX
        topics = list(wanted.topics) if wanted.topics is not None else None
        values = (
            *(owner, before, stretch, topics, wanted.since, wanted.until, wanted.actor),
            *(wanted.reference, limit + 1),
        )
        rows = await self._rows("history", values)
        stretch_from = rows[0][0]
        if stretch_from is None:  # every account has an event 1
            return None if before == BEFORE_ALL else HistoryPage([], None)
        events = [_stored(row[1:]) for row in rows if row[1] is not None]
        if len(events) > limit:
            return HistoryPage(events[:limit], events[limit - 1].version)
        return HistoryPage(events, stretch_from if stretch_from > 1 else None)

    async def events_at(self, owner: str, versions: Sequence[int]) -> dict[int, StoredEvent]:
        """Events of an account's stream by version."""
        return {
            row[4]: _stored(row) for row in await self._rows("events_at", (owner, list(versions)))
        }

    async def event_by_key(self, owner: str, key: Key) -> StoredEvent | None:
        """The event that bears an idempotency key."""
        rows = await self._rows("event_by_key", (owner, key.space, key.digest))
        return _stored(rows[0]) if rows else None

    async def lots(self, owner: str, before: str | None, limit: int) -> LotsView | None:
        """Lots by id, newest first, live or not; None when there is no such account."""
        return await self._lots(owner, "lots_page", (owner, before, limit))

    async def lot(self, owner: str, grant_id: str) -> LotsView | None:
        """One lot, or none; None when there is no such account."""
        return await self._lots(owner, "lot", (owner, grant_id))

    async def _lots(self, owner: str, name: str, values: tuple[Any, ...]) -> LotsView | None:
        async def work(connection: Connection) -> LotsView | None:
            async with snapshot(connection):
                head = await _head(connection, owner)
                rows = await _fetch(connection, name, values)
            if head is None:
                return None
            return LotsView([_lot_now(head.state, *row) for row in rows], head.now)

        return await self._pool.read(work)

    async def refunded(self, owner: str, debit_ids: Sequence[str]) -> dict[str, int]:
        """Credits given back so far, by debit; debits without a refund are not in it."""
        return dict(await self._rows("refunded", (owner, list(debit_ids))))

    async def private(self, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any] | None]:
        """Vault entries by digest, of (owner, digest) pairs; None for those that were erased."""
        pairs = list(wanted)
        if not pairs:
            return {}
        return await self._pool.read(lambda connection: self._vault.open_many(connection, pairs))

    async def log_stretch(self, tenant: str, after: int, upto: int, limit: int) -> list[LogRow]:
        """A tenant's events with `after` < position <= `upto`, oldest first."""
        rows = await self._rows("log_stretch", (after, upto, tenant, limit))
        return [LogRow(*row) for row in rows]

    async def _rows(self, name: str, values: tuple[Any, ...]) -> list[Any]:
        return await self._pool.read(lambda connection: _fetch(connection, name, values))


async def _fetch(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values, binary=True)
    return await cursor.fetchall()


async def _head(connection: Connection, owner: str) -> AccountView | None:
    rows = await _fetch(connection, "account", (owner,))
    if not rows:
        return None
    position, snapshot_version, head, now = rows[0]
    return AccountView(decode_account(head, snapshot_version), position, now.astimezone(UTC))


async def _whole(connection: Connection, owner: str) -> AccountView | None:
    view = await _head(connection, owner)
    if view is None or view.state.overflow.count == 0:
        return view
    rows = await _fetch(connection, "lots_beyond", (owner,))
    beyond = [decode_lot(row[0]) for row in rows]
    return view._replace(state=with_lots(view.state, beyond, all_live=True))


def _lot_now(head: AccountState, place: str, state: bytes) -> Lot:
    """A row of a lot that the head holds is as old as the last time the head took it in."""
    lot = decode_lot(state)
    return find_lot(head.lots, lot.grant_id) or lot if place == "h" else lot


def _stored(row: Sequence[Any]) -> StoredEvent:
    return StoredEvent(
        log=row[0],
        position=row[1],
        owner=row[2],
        stream=row[3],
        version=row[4],
        event=decode(row[5], row[6]),
        recorded_at=row[7],
        actor=row[8],
    )
