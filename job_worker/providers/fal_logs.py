"""The log of a running job as fal shows it: lines of the model's, which may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from contracts.jobs import LogLine
from contracts.limits import LOG_LINE_MAX_CHARACTERS, LOG_LINES_MAX

LEVEL_MAX_CHARACTERS: Final = 16


def newest_lines(fields: Mapping[str, Any]) -> tuple[LogLine, ...]:
    """The newest lines in a status, the newest last; what is no line is passed over."""
    entries = fields.get("logs")
    if not isinstance(entries, list):
        return ()
    lines = [_line(entry) for entry in entries[-LOG_LINES_MAX:] if isinstance(entry, dict)]
    return tuple(line for line in lines if line.message)


def _line(entry: Mapping[str, Any]) -> LogLine:
    return LogLine(
        message=_plain(entry.get("message"), LOG_LINE_MAX_CHARACTERS),
        level=_plain(entry.get("level"), LEVEL_MAX_CHARACTERS) or None,
        at=_instant(entry.get("timestamp")),
    )


def _plain(text: object, characters_max: int) -> str:
    """The text without what moves a terminal or turns the direction of writing."""
    if not isinstance(text, str):
        return ""
    # Cut first: a line may be as long as an answer.
    cut = text.strip()[:characters_max]
    return "".join(c if c.isprintable() else " " for c in cut).strip()


def _instant(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
