"""Figures of the whole deployment, from the database: every process tells the same.

Whoever asks within `KEEP_SECONDS` gets what was found for the first of them.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from contracts.reconciling import Report
from ledger_service.domain.generation.state import LOW_WAITS_MAX
from ledger_service.errors import Unavailable
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.presence import Present, read_presence
from ledger_service.store.reconciliations import decode_report
from ledger_service.store.statements import load_statements

KEEP_SECONDS: Final = 5.0
COUNTED_MAX: Final = 20_000
"""Jobs that are counted; of more it is said that there are so many."""
_SQL: Final = load_statements("figures")


class FollowerRow(NamedTuple):
    """How far a follower of the log is, and where the log is."""

    name: str
    position: int
    head: int


class EndingRow(NamedTuple):
    """How many generations ended so."""

    outcome: str
    reason: str
    ended: int


class DelayRow(NamedTuple):
    """Refunds in one bucket, and the sum of their delays."""

    upto_seconds: float
    refunds: int
    seconds: float


class LastReconciliation(NamedTuple):
    """The newest day with a report, and how long ago that was made."""

    day: date
    report: Report
    age_seconds: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one instant. `late_seconds`: how long the first of what is due has waited
    beyond what it may. `claimed_seconds_ago` is None when no worker ever asked."""

    followers: tuple[FollowerRow, ...]
    jobs: dict[str, int]
    due: int
    late_seconds: float
    claimed_seconds_ago: float | None
    clockwork_leads: bool
    endings: tuple[EndingRow, ...]
    refund_delays: tuple[DelayRow, ...]
    workers: tuple[Present, ...]
    reconciled: LastReconciliation | None

    @property
    def log_position(self) -> int:
        """Of the newest event."""
        return max((follower.head for follower in self.followers), default=0)


class FigureReads:
    """Reads figures, not too often. `last` are the newest, unless the last try went ill."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[Figures] | None = None
        self.last: Figures | None = None

    async def read(self) -> Figures:
        """Not older than `KEEP_SECONDS`. Raises `Unavailable`."""
        if self.last is not None and time.monotonic() - self._asked_at < KEEP_SECONDS:
            return self.last
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Figures:
        asked_at = time.monotonic()
        try:
            self.last = await self._pool.read(_read)
        except Unavailable:
            self.last = None
            raise
        self._asked_at = asked_at
        return self.last


async def _read(connection: Connection) -> Figures:
    async with snapshot(connection):
        ((due, late_seconds),) = await _rows(connection, "due", (COUNTED_MAX, LOW_WAITS_MAX))
        ((claimed_seconds_ago, leads),) = await _rows(connection, "activity")
        reconciled = await _rows(connection, "last_reconciliation")
        return Figures(
            followers=tuple(map(FollowerRow._make, await _rows(connection, "followers"))),
            jobs=dict(await _rows(connection, "jobs", (COUNTED_MAX,))),
            due=due,
            late_seconds=late_seconds,
            claimed_seconds_ago=claimed_seconds_ago,
            clockwork_leads=leads,
            endings=tuple(map(EndingRow._make, await _rows(connection, "endings"))),
            refund_delays=tuple(map(DelayRow._make, await _rows(connection, "refund_delays"))),
            workers=tuple(await read_presence(connection)),
            reconciled=_reconciled(*reconciled[0]) if reconciled else None,
        )


def _reconciled(day: date, stored: bytes, age_seconds: float) -> LastReconciliation | None:
    report = decode_report(stored)
    return LastReconciliation(day, report, age_seconds) if report else None


async def _rows(connection: Connection, name: str, values: tuple[Any, ...] = ()) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values)
    return await cursor.fetchall()
