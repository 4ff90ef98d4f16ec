"""When the periods of recurring grants begin, case by case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from ledger_service.domain.account.calendar import begins_at, next_after
from ledger_service.domain.account.terms import Schedule


def schedule(starts_at: str, unit: str, **terms: Any) -> Schedule:
    """A schedule with the usual terms."""
    begins = datetime.fromisoformat(starts_at)
    return Schedule(schedule_id="s", amount=1, unit=unit, starts_at=begins, **terms)


def begins(plan: Schedule, periods: int) -> list[str]:
    """The beginnings of so many periods, in UTC and without what is always the same."""
    found = [begins_at(plan, period) for period in range(periods)]
    return [at.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if at else "" for at in found]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(
            schedule("2030-01-31T12:00Z", "month"),
            ["2030-01-31 12:00", "2030-02-28 12:00", "2030-03-31 12:00", "2030-04-30 12:00"],
            id="the 31st: the last day of a shorter month, and the 31st again",
        ),
        pytest.param(
            schedule("2032-02-29T12:00Z", "year"),
            ["2032-02-29 12:00", "2033-02-28 12:00", "2034-02-28 12:00", "2035-02-28 12:00"],
            id="29 February: the 28th in years without it",
        ),
        pytest.param(
            schedule("2032-02-29T12:00Z", "year", every=4),
            ["2032-02-29 12:00", "2036-02-29 12:00", "2040-02-29 12:00"],
            id="29 February: itself where there is one",
        ),
        pytest.param(
            schedule("2030-01-31T12:00Z", "month", every=3),
            ["2030-01-31 12:00", "2030-04-30 12:00", "2030-07-31 12:00"],
            id="every three months",
        ),
        pytest.param(
            schedule("2030-01-01T12:00Z", "week", every=2),
            ["2030-01-01 12:00", "2030-01-15 12:00", "2030-01-29 12:00"],
            id="every two weeks",
        ),
        pytest.param(
            schedule("2030-03-29T23:30Z", "day", time_zone="Europe/Berlin"),
            ["2030-03-29 23:30", "2030-03-30 23:30", "2030-03-31 22:30"],
            id="half past midnight stays that when the clock is changed",
        ),
        pytest.param(
            schedule("2030-03-30T01:30Z", "day", time_zone="Europe/Berlin"),
            ["2030-03-30 01:30", "2030-03-31 01:30", "2030-04-01 00:30"],
            id="02:30 is skipped once: it counts as if the clock had not been changed",
        ),
        pytest.param(
            schedule("2030-10-26T00:30Z", "day", time_zone="Europe/Berlin"),
            ["2030-10-26 00:30", "2030-10-27 00:30", "2030-10-28 01:30"],
            id="02:30 comes twice once: the first time counts",
        ),
        pytest.param(
            schedule("2030-10-27T01:30Z", "day", time_zone="Europe/Berlin"),
            ["2030-10-27 01:30", "2030-10-28 01:30"],
            id="the anchor may be the second of two equal wall times",
        ),
        pytest.param(
            schedule("2011-12-29T20:00Z", "day", time_zone="Pacific/Apia"),
            ["2011-12-29 20:00", "2011-12-30 20:00", "2011-12-30 20:00", "2011-12-31 20:00"],
            id="a whole day that was skipped: its period is over as it begins",
        ),
        pytest.param(
            schedule("2030-01-01T00:00Z", "day", ends_at=datetime(2030, 1, 3, tzinfo=UTC)),
            ["2030-01-01 00:00", "2030-01-02 00:00", "", ""],
            id="the end itself begins no period",
        ),
        pytest.param(
            schedule("2030-01-01T00:00Z", "day", ends_at=datetime(2030, 1, 1, tzinfo=UTC)),
            [""],
            id="over before it begins",
        ),
        pytest.param(
            schedule("9998-06-01T00:00Z", "year"),
            ["9998-06-01 00:00", "9999-06-01 00:00", ""],
            id="the calendar's own end",
        ),
    ],
)
def test_when_periods_begin(plan: Schedule, expected: list[str]) -> None:
    """At the anchor's wall time in the schedule's zone."""
    assert begins(plan, len(expected)) == expected


@pytest.mark.parametrize("unit", ["day", "week", "month", "year"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_periods_go_forward_and_are_found_again(unit: str, zone: str, every: int) -> None:
    """Each begins after the one before, and is the next one after any instant before it."""
    plan = schedule("2029-12-31T23:59:59Z", unit, time_zone=zone, every=every)
    known = [begins_at(plan, period) for period in range(60)]
    for before, after in pairwise(known):
        assert before is not None
        assert after is not None
        assert before < after
        assert next_after(plan, before) == after
        assert next_after(plan, after - timedelta(microseconds=1)) == after


def test_what_follows_the_last_period_is_found_as_well() -> None:
    """A rollover lot ends with the period that would begin then, whatever the schedule's end."""
    plan = schedule("2030-01-31T12:00Z", "month", ends_at=datetime(2030, 2, 1, tzinfo=UTC))
    assert next_after(plan, datetime(2030, 2, 28, 12, tzinfo=UTC)) == datetime(
        2030, 3, 31, 12, tzinfo=UTC
    )
    assert next_after(plan, datetime(2029, 1, 1, tzinfo=UTC)) == plan.starts_at
