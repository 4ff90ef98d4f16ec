"""The oracle's calendar at the edges where calendars differ."""

from __future__ import annotations

import pytest

from tests.oracle.periods import EPOCH, instant, micros, period_start, window


@pytest.mark.parametrize(
    ("starts", "zone", "unit", "number", "expected"),
    [
        ("2025-01-31T12:00:00Z", "UTC", "month", 1, "2025-02-28T12:00:00Z"),
        ("2025-01-31T12:00:00Z", "UTC", "month", 2, "2025-03-31T12:00:00Z"),
        ("2024-02-29T00:00:00Z", "UTC", "year", 1, "2025-02-28T00:00:00Z"),
        ("2025-03-29T01:30:00Z", "Europe/Berlin", "day", 1, "2025-03-30T01:30:00Z"),
        ("2025-03-29T01:30:00Z", "Europe/Berlin", "day", 2, "2025-03-31T00:30:00Z"),
        ("2025-10-25T00:30:00Z", "Europe/Berlin", "day", 1, "2025-10-26T00:30:00Z"),
        ("2025-10-25T00:30:00Z", "Europe/Berlin", "day", 2, "2025-10-27T01:30:00Z"),
    ],
)
def test_a_period_keeps_its_wall_time(
    starts: str, zone: str, unit: str, number: int, expected: str
) -> None:
    """Short months end early; a skipped hour counts as before the change, a double one once."""
    begins = period_start(_at(starts), zone, unit, number)
    assert instant(begins).isoformat() == expected.replace("Z", "+00:00")


def test_windows_are_of_utc() -> None:
    """A day, a month, and for good."""
    at = _at("2025-12-31T23:59:59Z")
    assert window("day", at) == (_at("2025-12-31T00:00:00Z"), _at("2026-01-01T00:00:00Z"))
    assert window("month", at) == (_at("2025-12-01T00:00:00Z"), _at("2026-01-01T00:00:00Z"))
    assert window("lifetime", at) == (micros(EPOCH), None)


def _at(text: str) -> int:
    return micros(type(EPOCH).fromisoformat(text))
