"""What the API reads, as states and stored events. Every method may raise `Unavailable`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from psycopg import AsyncRawCursor

from ledger_service.domain.account.balance import is_partial
from ledger_service.domain.account.state import AccountState, Lot, find_lot, with_lots
from ledger_service.domain.commands import Key
from ledger_service.store.folding import StoredHead, account_head, run_steps_async
from ledger_service.store.head_reader import AccountView, HeadReader
from ledger_service.store.heads import decode_lot
from ledger_service.store.history import History
from ledger_service.store.past import Past
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements
from ledger_service.store.stored import StoredEvent, stored_event
from ledger_service.store.trails import Trails
from ledger_service.store.vault import Vault

STRETCH_MAX: Final = 5_000
"""Events that one request looks at, however few of them match its filters."""

_SQL: Final = load_statements("reads")


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


class Reads:
    """Named statements over the pool. `history`, `past` and `trails` read what the projections
    know, and complete it from the events."""

    def __init__(self, pool: ReadPool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._heads = HeadReader(pool)
        self.history = History(pool)
        self.past = Past(pool)
        self.trails = Trails(pool)

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

    async def events_at(self, owner: str, versions: Sequence[int]) -> dict[int, StoredEvent]:
        """Events of an account's stream by version."""
        return {
            row[4]: stored_event(row)
            for row in await self._rows("events_at", (owner, list(versions)))
        }

    async def event_by_key(self, owner: str, key: Key) -> StoredEvent | None:
        """The event that bears an idempotency key."""
        rows = await self._rows("event_by_key", (owner, key.space, key.digest))
        return stored_event(rows[0]) if rows else None

    async def lots(self, owner: str, before: str | None, limit: int) -> LotsView | None:
        """Lots by id, newest first, live or not; None when there is no such account."""
        return await self._lots(owner, "lots_page", (owner, before, limit))

    async def lot(self, owner: str, grant_id: str) -> LotsView | None:
        """One lot, or none; None when there is no such account."""
        return await self._lots(owner, "lot", (owner, grant_id))

    async def derived_lots(
        self, owner: str, grant_id: str, before: str | None, limit: int
    ) -> list[tuple[str, Lot]]:
        """Lots that came from a lot, newest first, each with its owner; of what they are now only
        what never changes is to be relied on."""
        rows = await self._rows("derived_lots", (owner, grant_id, before, limit))
        return [(whose, decode_lot(state)) for whose, state in rows]

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
    position, snapshot_version, snapshot_, now, version = rows[0]
    head = StoredHead(owner, owner, version, snapshot_version, snapshot_)
    state = await run_steps_async(account_head(head), connection)
    return AccountView(state, position, now.astimezone(UTC))


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
