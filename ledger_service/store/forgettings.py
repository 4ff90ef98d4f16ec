"""What providers are to forget, as workers are handed it. Every method may raise `Unavailable`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg import AsyncRawCursor

from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

TRIES_MAX: Final = 12
"""With their pauses about a day: by then a person has to look at it."""
PAUSE_FIRST: Final = timedelta(seconds=60)
PAUSE_MAX: Final = timedelta(hours=6)

_SQL: Final = load_statements("forgettings")


class Due(NamedTuple):
    """A generation whose payloads are to go; `fence` names this try."""

    generation_id: str
    fence: int


class GivenUp(NamedTuple):
    """A generation whose payloads stay, and why."""

    generation_id: str
    at: datetime
    reason: str | None


class Forgettings:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def claim(self, limit: int) -> list[Due]:
        """Take up to `limit` that are due, each for one try."""
        rows = await self._change("claim", (limit, TRIES_MAX, PAUSE_FIRST, PAUSE_MAX))
        return [Due(*row) for row in rows]

    async def note_forgotten(self, due: Due, reason: str | None = None) -> bool:
        """Nothing is left of it; false when the try is an old one, here and below."""
        return await self._told("settle", (*due, "forgotten", reason))

    async def note_impossible(self, due: Due, reason: str | None) -> bool:
        """It stays for good."""
        return await self._told("settle", (*due, "given_up", reason))

    async def note_trouble(self, due: Due, reason: str | None) -> bool:
        """It was not possible this time."""
        return await self._told("note_trouble", (*due, reason))

    async def given_up(
        self, since: datetime, until: datetime, limit: int
    ) -> tuple[int, list[GivenUp]]:
        """How many were given up in a stretch of time, and the first of them."""

        async def work(connection: Connection) -> tuple[int, list[GivenUp]]:
            ((count,),) = await _rows(connection, "count_given_up", (since, until))
            rows = await _rows(connection, "given_up", (since, until, limit))
            return count, [GivenUp(*row) for row in rows]

        return await self._pool.read(work)

    async def _told(self, name: str, values: tuple[Any, ...]) -> bool:
        async def work(connection: Connection) -> bool:
            cursor = AsyncRawCursor(connection)
            await cursor.execute(_SQL[name].encode(), values)
            return cursor.rowcount == 1

        return await self._pool.write(work)

    async def _change(self, name: str, values: tuple[Any, ...]) -> list[Any]:
        return await self._pool.write(lambda connection: _rows(connection, name, values))


async def _rows(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name].encode(), values)
    return await cursor.fetchall()
