"""What of a model's log is passed on: the newest lines, plain and bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.jobs import LogLine, RunningReport
from contracts.limits import LOG_LINE_MAX_CHARACTERS, LOG_LINES_MAX
from job_worker.providers.fal_logs import newest_lines

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def entry(message: Any, **others: Any) -> dict[str, Any]:
    """A line as fal has it."""
    return {"message": message, "level": "INFO", "source": "USER", "timestamp": AT.isoformat()} | (
        others
    )


def test_a_line_is_passed_on_with_its_level_and_instant() -> None:
    """Word for word; where it comes from is nobody's business."""
    (line,) = newest_lines({"logs": [entry("step 3 of 20")]})
    assert line == LogLine(message="step 3 of 20", level="INFO", at=AT)


def test_the_newest_lines_are_kept() -> None:
    """A long log costs no more than a short one."""
    lines = newest_lines({"logs": [entry(f"line {number}") for number in range(1_000)]})
    assert len(lines) == LOG_LINES_MAX
    assert lines[-1].message == "line 999"


@pytest.mark.parametrize("message", ["\x1b[2J\x1b[31mred", "a\x00b", "\u202egnp.exe", "two\nlines"])
def test_nothing_in_a_line_moves_a_terminal(message: str) -> None:
    """Control characters and turns of direction become spaces."""
    (line,) = newest_lines({"logs": [entry(message)]})
    assert line.message.isprintable()


@pytest.mark.parametrize("at", ["yesterday", 7, None, "0001-01-01T00:00:00+14:00"])
def test_a_line_without_a_sensible_instant_is_a_line(at: Any) -> None:
    """What the provider says of the time is left out."""
    (line,) = newest_lines({"logs": [entry("x", timestamp=at, level=None)]})
    assert line == LogLine(message="x")


@pytest.mark.parametrize(
    "logs",
    [None, "text", {"message": "x"}, [None, 7, "x", {}, entry(""), entry(" \x00 "), entry(["x"])]],
)
def test_what_is_no_log_has_no_lines(logs: Any) -> None:
    """A provider that says something else is not an error."""
    assert newest_lines({"logs": logs}) == ()
    assert newest_lines({}) == ()


def test_every_line_fits_into_a_report() -> None:
    """Whatever the model writes, the ledger takes the report: else nobody would poll on."""
    lines = newest_lines({"logs": [entry("🚢" * 10_000, level="L" * 99)] * 50})
    report = RunningReport(provider_status="IN_PROGRESS", logs=lines)
    sent = msgspec.json.encode(report)
    assert msgspec.json.decode(sent, type=RunningReport) == report
    assert len(sent) < 32 * 1024
    assert len(lines[0].message) == LOG_LINE_MAX_CHARACTERS
