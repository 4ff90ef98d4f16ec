"""PostgreSQL array literals, written by hand.

psycopg's list dumper looks at every element's type; a batch passes a dozen arrays of known
types, and the dumper would cost more than deciding the commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime


def text_array(values: Iterable[str | None]) -> str:
    """Any text; None becomes NULL."""
    return "{" + ",".join([_quoted(value) for value in values]) + "}"


def plain_array(values: Iterable[int | bool]) -> str:
    """Integers and booleans need no quotes."""
    return "{" + ",".join([str(value) for value in values]) + "}"


def bytea_array(values: Iterable[bytes | None]) -> str:
    """Bytes in hex; None becomes NULL."""
    return (
        "{"
        + ",".join(["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values])
        + "}"
    )


def time_array(values: Iterable[datetime | None]) -> str:
    """Instants with their offset; None becomes NULL."""
    return (
        "{"
        + ",".join(["NULL" if value is None else f'"{value.isoformat()}"' for value in values])
        + "}"
    )


def _quoted(value: str | None) -> str:
    if value is None:
        return "NULL"
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'
