"""Holds, as the API reads them. Every method may raise `Unavailable`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from ledger_service.domain.events.holds import HoldAfter
from ledger_service.domain.ids import EPOCH, make_id
from ledger_service.store.heads import decode_hold
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements

STRETCH_MAX: Final = 5_000
"""Holds that one request looks at, however few of them match its filters."""

_BEFORE_ALL: Final = ""
_AFTER_ALL: Final = "hld_~"
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_SQL: Final = load_statements("holds")


class HoldFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which of an account's holds are wanted, and in which order; null means any."""

    status: str | None = None
    reference: str | None = None
    placed_before: datetime | None = None
    is_oldest_first: bool = False


class HoldsPage(NamedTuple):
    """Holds in their order; the next page begins behind the hold id `next_from`, if there is
    one."""

    holds: list[HoldAfter]
    next_from: str | None


class HoldReads:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def one(self, owner: str, hold_id: str) -> HoldAfter | None:
        """One hold of the account."""
        rows = await self._rows("one", (owner, hold_id))
        return decode_hold(rows[0][0]).hold if rows else None

    async def page(
        self, owner: str, wanted: HoldFilter, behind: str | None, limit: int
    ) -> HoldsPage:
        """A page of the account's holds, from the hold id `behind` on."""
        after, before = _BEFORE_ALL, _first_after(owner, wanted.placed_before)
        if behind is not None and wanted.is_oldest_first:
            after = behind
        elif behind is not None:
            before = min(before, behind)
        bounds = (owner, after, before)
        filters = (wanted.reference, wanted.status, wanted.placed_before)
        name = "oldest" if wanted.is_oldest_first else "newest"
        rows = await self._rows(name, (*bounds, *filters, STRETCH_MAX, limit + 1))
        looked_at, last, _ = rows[0]
        holds = [decode_hold(state).hold for _, _, state in rows if state is not None]
        if len(holds) > limit:
            return HoldsPage(holds[:limit], holds[limit - 1].hold_id)
        return HoldsPage(holds, last if looked_at == STRETCH_MAX else None)

    async def _rows(self, name: str, values: tuple[Any, ...]) -> list[Any]:
        async def work(connection: Connection) -> list[Any]:
            async with snapshot(connection):
                # Planned for these very filters, each of which has an index of its own; and read
                # in its order, so that a page costs the same however many holds there are.
                await connection.execute("SET LOCAL enable_bitmapscan = off")
                cursor = AsyncRawCursor(connection)
                await cursor.execute(_SQL[name], values, binary=True, prepare=False)
                return await cursor.fetchall()

        return await self._pool.read(work)


def _first_after(owner: str, at: datetime | None) -> str:
    """An id behind those of all holds that were placed before `at`; ids count milliseconds."""
    if at is None:
        return _AFTER_ALL
    within = min(max(at, EPOCH), _LATEST)
    return make_id("hld", within + timedelta(milliseconds=1), owner, 1)
