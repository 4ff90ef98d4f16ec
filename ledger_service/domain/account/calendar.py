"""When the periods of a recurring grant begin. Pure: time zones are data."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ledger_service.domain.account.terms import Schedule

_DAYS: Final = {"day": 1, "week": 7}
_MONTHS: Final = {"month": 1, "year": 12}


def begins_at(schedule: Schedule, period: int) -> datetime | None:
    """When period `period` (from 0) begins, in UTC; null when it would be past the end.

    At the anchor's wall time in the schedule's zone, on the last day of a month that is too short.
    A wall time that does not exist counts as if the clock had not been changed, one that comes
    twice counts the first time (RFC 5545).
    """
    zone = ZoneInfo(schedule.time_zone)
    anchor = schedule.starts_at.astimezone(zone)
    try:
        day = _day(anchor.date(), schedule, period)
        at = datetime.combine(day, time(*_clock(anchor)), tzinfo=zone).astimezone(UTC)
    except (OverflowError, ValueError):
        return None  # past the end of the calendar
    # The anchor itself may be the second of two equal wall times.
    at = schedule.starts_at.astimezone(UTC) if period == 0 else at
    return None if schedule.ends_at is not None and at >= schedule.ends_at else at


def next_after(schedule: Schedule, instant: datetime) -> datetime | None:
    """When the first period after `instant` begins, whatever the schedule's own end."""
    endless = replace(schedule, ends_at=None)
    return begins_at(endless, first_after(schedule, instant))


def first_after(schedule: Schedule, instant: datetime) -> int:
    """The first period that begins after `instant`, whatever the schedule's own end."""
    endless = replace(schedule, ends_at=None)
    period = _estimate(schedule, instant)
    at = begins_at(endless, period)
    while at is not None and at <= instant:
        period += 1
        at = begins_at(endless, period)
    return period


def _estimate(schedule: Schedule, instant: datetime) -> int:
    """A period that begins at or before `instant`, close to it."""
    days = _DAYS.get(schedule.unit) or _MONTHS[schedule.unit] * 31
    passed: timedelta = instant - schedule.starts_at
    return max(0, passed.days // (days * schedule.every) - 1)


def _day(anchor: date, schedule: Schedule, period: int) -> date:
    steps = period * schedule.every
    if schedule.unit in _DAYS:
        return anchor + timedelta(days=steps * _DAYS[schedule.unit])
    months = anchor.year * 12 + anchor.month - 1 + steps * _MONTHS[schedule.unit]
    year, month = divmod(months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(anchor.day, last))


def _clock(anchor: datetime) -> tuple[int, int, int, int]:
    return anchor.hour, anchor.minute, anchor.second, anchor.microsecond
