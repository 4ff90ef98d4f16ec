"""The newest position of the log, for those who wait for a position."""

from __future__ import annotations

import asyncio
from typing import Final

from ledger_service.errors import Unavailable
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

_POLL_SECONDS: Final = 0.02
_LONG_POLL_SECONDS: Final = 0.25
_SQL: Final = load_statements("reads")


async def read_log_head(connection: Connection) -> int:
    """The position of the newest event."""
    row = await (await connection.execute(_SQL["log_head"].encode())).fetchone()
    assert row is not None, "migrations make the log"
    last: int = row[0]
    return last


class LogHead:
    """However many wait, one of them asks the database."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._last = 0
        self._asking: asyncio.Task[int] | None = None

    async def read(self) -> int:
        """The newest position now."""
        return await self._pool.read(read_log_head)

    async def reaches(
        self, position: int, wait_seconds: float, until: asyncio.Event | None = None
    ) -> bool:
        """Wait for `position`; false when the time is over, or `until` was set."""
        if self._last >= position:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        pause_seconds = _POLL_SECONDS
        while await self._ask_once() < position:
            left_seconds = deadline - loop.time()
            if left_seconds <= 0 or (until is not None and until.is_set()):
                return False
            await asyncio.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(pause_seconds * 1.2, _LONG_POLL_SECONDS)
        return True

    async def _ask_once(self) -> int:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self.read())
        try:
            self._last = max(self._last, await asyncio.shield(self._asking))
        except Unavailable:
            self._asking = None
            raise
        return self._last
