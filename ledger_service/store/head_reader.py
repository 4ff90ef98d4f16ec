"""Heads of accounts for many readers at once.

Balance reads are the commonest request and each needs one row. All that arrive while a query is
under way share the next one. Nobody joins a query that has already begun: it might not see what
was committed before they asked.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

from psycopg import AsyncRawCursor

from ledger_service.domain.account.state import AccountState
from ledger_service.errors import CorruptHistory
from ledger_service.store.arrays import text_array
from ledger_service.store.folding import StoredHead, account_head, run_steps_async
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

OWNERS_MAX: Final = 256
_HEADS: Final = load_statements("reads")["heads"]


class AccountView(NamedTuple):
    """An account at the database's `now`."""

    state: AccountState
    position: int
    now: datetime


_Found = dict[str, AccountView | CorruptHistory]
_Waiting = dict[str, asyncio.Future[AccountView | None]]


class HeadReader:
    """One query at a time for however many readers."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._waiting: _Waiting = {}
        self._task: asyncio.Task[None] | None = None

    async def read(self, owner: str) -> AccountView | None:
        """The head of an account; None when there is no such account."""
        future = self._waiting.get(owner)
        if future is None:
            future = self._waiting[owner] = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._work())
        return await asyncio.shield(future)

    async def _work(self) -> None:
        while self._waiting:
            owners = list(self._waiting)[:OWNERS_MAX]
            batch = {owner: self._waiting.pop(owner) for owner in owners}
            try:
                found = await self._pool.read(partial(_read, owners=owners))
            except Exception as error:  # whatever it is, nobody must wait for ever
                _fail(batch, error)
                # Whoever has joined meanwhile would only wait as long again.
                _fail(self._waiting, error)
                self._waiting.clear()
            else:
                _deliver(batch, found)
        self._task = None


async def _read(connection: Connection, owners: list[str]) -> _Found:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_HEADS, (text_array(owners),), binary=True)
    found: _Found = {}
    for owner, position, snapshot_version, snapshot, now, version in await cursor.fetchall():
        head = StoredHead(owner, owner, version, snapshot_version, snapshot)
        try:
            state = await run_steps_async(account_head(head), connection)
        except CorruptHistory as error:  # its neighbours can be read
            found[owner] = error
        else:
            found[owner] = AccountView(state, position, now.astimezone(UTC))
    return found


def _deliver(batch: _Waiting, found: _Found) -> None:
    for owner, future in batch.items():
        result = found.get(owner)
        if isinstance(result, CorruptHistory):
            future.set_exception(result)
        else:
            future.set_result(result)


def _fail(waiting: _Waiting, error: Exception) -> None:
    for future in waiting.values():
        future.set_exception(error)
