"""Opening and closing, freezing, adjustments, and the terms of an account and of its tenant."""

from __future__ import annotations

from typing import Any

from tests.oracle.ground import Ground, first_after
from tests.oracle.spending import debit, grant
from tests.oracle.things import Limit, Refused, Schedule, Terms


def open_account(ground: Ground, account: str, limit: int = 0) -> dict[str, Any]:
    """An account before its first grant."""
    if account in ground.accounts:
        raise Refused("account_exists")
    ground.opened(account).limit = limit
    return {}


def change_limit(ground: Ground, account: str, limit: int) -> dict[str, Any]:
    """How far an account may go below zero by spending."""
    there = ground.settled(account)
    if there.status == "merged":
        raise Refused("account_merged")
    there.limit = limit
    return {}


def set_status(ground: Ground, account: str, status: str) -> dict[str, Any]:
    """Freeze, unfreeze or close; what is closed or merged stays so."""
    there = ground.settled(account)
    if there.status in ("closed", "merged"):
        raise Refused(f"account_{there.status}")
    there.status = status
    return {}


def adjust(ground: Ground, account: str, amount: int, direction: str) -> dict[str, Any]:
    """A correction by hand, as a grant or a debit, of an account that exists."""
    if account not in ground.accounts:
        raise Refused("account_not_found")
    if direction == "debit":
        return debit(ground, account, amount, is_adjustment=True)
    return grant(ground, account, amount, Terms(source="adjustment", effective_at=ground.now))


def set_schedules(ground: Ground, account: str, schedules: tuple[Schedule, ...]) -> dict[str, Any]:
    """Recurring grants, all of them at once. Nothing is granted twice under one id: it goes on with
    the first period that begins after the last one granted, whatever its timetable is now."""
    there = ground.settled(account)
    if there.status in ("closed", "merged"):
        raise Refused(f"account_{there.status}")
    for schedule in schedules:
        if (until := there.granted_until.get(schedule.id)) is not None:
            there.granted_periods[schedule.id] = first_after(schedule, until)
    there.schedules = {schedule.id: schedule for schedule in schedules}
    ground.settled(account)  # what is due at once is granted at once
    return {}


def set_limits(ground: Ground, account: str, limits: tuple[Limit, ...]) -> dict[str, Any]:
    """Spend limits of the account; with none of its own, the policy's hold.

    A counter goes on, also while its limit is away.
    """
    there = ground.settled(account)
    there.limits = limits
    return {}


def set_thresholds(ground: Ground, account: str, levels: tuple[int, ...]) -> dict[str, Any]:
    """Levels of the available balance that raise an alert."""
    ground.settled(account).thresholds = levels
    return {}


def report(ground: Ground, account: str, debit: str) -> dict[str, Any]:
    """A worker reports that a generation failed: the refund that follows is a command itself."""
    return {"debit": debit}


def touch(ground: Ground, account: str) -> dict[str, Any]:
    """Book what is due and nothing else, as the sweep does."""
    ground.settled(account)
    return {}
