"""Is this process fit to be sent requests? Asked often, so the answer is kept for a second."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ledger_service.errors import Unavailable
from ledger_service.store.boot import compare_schema
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

_SQL: Final = load_statements("fitness")
KEEP_SECONDS: Final = 1.0


class Readiness:
    """Ready: the database is a writable primary, and its schema is the one this code knows.

    Valkey is not asked: without it the ledger does everything, only later.
    """

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._fault: str | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[str | None] | None = None

    async def fault(self) -> str | None:
        """Why requests would fail; None when the process is ready."""
        if time.monotonic() - self._asked_at < KEEP_SECONDS:
            return self._fault
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str | None:
        try:
            self._fault = await self._pool.read(_fault)
        except Unavailable as error:
            self._fault = str(error)
        self._asked_at = time.monotonic()
        return self._fault


async def _fault(connection: Connection) -> str | None:
    row = await (await connection.execute(_SQL["is_writable"])).fetchone()
    if row is None or not row[0]:
        return "the database is read-only"
    applied = await (await connection.execute(_SQL["migrations"])).fetchall()
    return compare_schema(applied)
