"""Wall-clock periods of schedules, and windows of spend limits."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    """The instant in UTC."""
    return EPOCH + timedelta(microseconds=at)


def period_start(starts_at: int, time_zone: str, unit: str, number: int) -> int:
    """When period `number` begins: the first one's wall time, so many periods later.

    A skipped wall time counts with the offset before the change, one that comes twice the first
    time: this is what `fold=0` means.
    """
    zone = ZoneInfo(time_zone)
    first = instant(starts_at).astimezone(zone).replace(tzinfo=None)
    wall = _later(first, unit, number)
    return micros(wall.replace(tzinfo=zone, fold=0).astimezone(UTC))


def _later(wall: datetime, unit: str, number: int) -> datetime:
    if unit == "day":
        return wall + timedelta(days=number)
    if unit == "week":
        return wall + timedelta(weeks=number)
    months = wall.month - 1 + number * {"month": 1, "year": 12}[unit]
    year, month = wall.year + months // 12, months % 12 + 1
    day = min(wall.day, calendar.monthrange(year, month)[1])
    return wall.replace(year=year, month=month, day=day)


def window(kind: str, now: int) -> tuple[int, int | None]:
    """The window of `now` in UTC: its first instant and that of the next one."""
    at = instant(now)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "lifetime":
        return 0, None
    if kind == "day":
        return micros(midnight), micros(midnight + timedelta(days=1))
    first = midnight.replace(day=1)
    return micros(first), micros(_later(first.replace(tzinfo=None), "month", 1).replace(tzinfo=UTC))
