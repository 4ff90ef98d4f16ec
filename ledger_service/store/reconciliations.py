"""The daily comparison of ledger, provider and storage: who is at which day, and what it found."""

from __future__ import annotations

import functools
import logging
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from contracts.reconciling import ReconciliationClaim, Report
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

SETTLED_AFTER: Final = timedelta(hours=2)
"""A day is compared so long after its end: what was under way at midnight has mostly ended then."""
LEASE: Final = timedelta(minutes=5)
"""How long a day belongs to a process that does not say that it is still at it."""
RETRY_AFTER: Final = timedelta(minutes=15)
"""After trouble: a side that could not be read."""
DAYS_MAX: Final = 8
"""Older days are given up."""
_SQL: Final = load_statements("reconciliations")
_log = logging.getLogger(__name__)


class StoredReconciliation(NamedTuple):
    """A day with its report, or with the trouble of the last try. Neither, though it was reported:
    newer code than this did."""

    day: date
    reported_at: datetime | None
    trouble: str | None
    report: Report | None


async def claim_day(connection: Connection, worker: str) -> ReconciliationClaim | None:
    """A day that is to be compared, for this process alone; None when there is none."""
    await _rows(connection, "announce", (SETTLED_AFTER, DAYS_MAX), fetch=False)
    rows = await _rows(connection, "claim", (worker, LEASE, DAYS_MAX))
    if not rows:
        return None
    ((day, fence),) = rows
    since = datetime.combine(day, time(), UTC)
    return ReconciliationClaim(
        day=day,
        fence=fence,
        since=since,
        until=since + timedelta(days=1),
        lease_seconds=LEASE.total_seconds(),
    )


async def renew_day(connection: Connection, day: date, fence: int) -> bool:
    """Still at it; false when the day is somebody else's by now, or done."""
    return bool(await _rows(connection, "renew", (day, fence, LEASE)))


async def give_day_up(connection: Connection, day: date, fence: int, trouble: str) -> bool:
    """It could not be compared now; false as above."""
    return bool(await _rows(connection, "give_up", (day, fence, trouble, RETRY_AFTER)))


async def keep_report(connection: Connection, day: date, fence: int, report: Report) -> bool:
    """The day's one report; false when the day is somebody else's by now."""
    return bool(await _rows(connection, "report", (day, fence, msgspec.json.encode(report))))


async def list_days(
    connection: Connection, before: date | None, limit: int
) -> list[StoredReconciliation]:
    """Days older than `before`, the newest first."""
    rows = await _rows(connection, "page", (before, limit))
    return [
        StoredReconciliation(day, reported_at, trouble, report and decode_report(report))
        for day, reported_at, trouble, report in rows
    ]


def decode_report(stored: bytes) -> Report | None:
    """A report as it was kept; None for one that newer code than this has kept."""
    try:
        return msgspec.json.decode(stored, type=Report)
    except msgspec.ValidationError:
        _say_unknown()
        return None


@functools.cache
def _say_unknown() -> None:
    """Once: figures are read every few seconds."""
    _log.warning("a report of the daily comparison is newer than this code, and passed over")


async def _rows(
    connection: Connection, name: str, values: tuple[Any, ...], *, fetch: bool = True
) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values)
    return await cursor.fetchall() if fetch else []
