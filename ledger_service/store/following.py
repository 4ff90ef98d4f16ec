"""Tells those who watch accounts that something happened on them.

One reader per process follows the log for all of them. What happens in quick succession is told
once: who is woken reads the account as it is by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from psycopg import AsyncRawCursor

from ledger_service.errors import Unavailable
from ledger_service.store.arrays import text_array
from ledger_service.store.log_head import LogHead
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

STRETCH_MAX: Final = 20_000
"""Positions that one look covers; further behind than that, everyone is woken."""
WATCHERS_MAX: Final = 5_000
_COALESCE_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0

_SQL: Final = load_statements("following")
_log = logging.getLogger(__name__)


class AccountFollower:
    """Wakes the watchers of accounts."""

    def __init__(self, pool: ReadPool, log_head: LogHead) -> None:
        self._pool = pool
        self._log_head = log_head
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, owner: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happened on the account.

        Raises `Unavailable` when too many watch already. Read the account after this: what
        happens from now on is told.
        """
        if self._count >= WATCHERS_MAX:
            raise Unavailable("too many streams")
        changed = asyncio.Event()
        self._watchers.setdefault(owner, set()).add(changed)
        self._count += 1
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        try:
            yield changed
        finally:
            self._count -= 1
            self._watchers[owner].discard(changed)
            if not self._watchers[owner]:
                del self._watchers[owner]

    async def _follow(self) -> None:
        last: int | None = None
        while self._watchers:
            try:
                last = await self._look(last)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                _log.exception("a look at the log failed for a reason that nobody foresaw")
                await asyncio.sleep(_RETRY_SECONDS)
        self._task = None

    async def _look(self, last: int | None) -> int:
        """Wait for news after `last`, tell whom it concerns, and return how far we are."""
        if last is None:
            head = await self._log_head.read()
            self._wake(list(self._watchers))  # they may have begun before we knew where we are
            return head
        if not await self._log_head.reaches(last + 1, _WAIT_SECONDS):
            return last
        await asyncio.sleep(_COALESCE_SECONDS)
        head = await self._log_head.read()
        if head - last > STRETCH_MAX:
            self._wake(list(self._watchers))
        else:
            self._wake(await self._changed(last, head))
        return head

    async def _changed(self, after: int, upto: int) -> list[str]:
        owners = text_array(list(self._watchers))

        async def work(connection: Connection) -> list[str]:
            cursor = AsyncRawCursor(connection)
            await cursor.execute(_SQL["changed"], (after, upto, owners))
            return [row[0] for row in await cursor.fetchall()]

        return await self._pool.read(work)

    def _wake(self, owners: list[str]) -> None:
        for owner in owners:
            for changed in self._watchers.get(owner, ()):
                changed.set()
