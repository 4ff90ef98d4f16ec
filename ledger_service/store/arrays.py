"""PostgreSQL array literals, written by hand.

psycopg's list dumper looks at every element's type; a batch passes dozens of arrays of known
types, and the dumper would cost more than deciding the commands. For the same reason whole
columns are joined and escaped at once, not element by element.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

_SEPARATOR = "\0"  # no text of PostgreSQL's can hold it


def text_array(values: Sequence[str | None]) -> str:
    """Any text; None becomes NULL. Raises ValueError for a NUL character."""
    if not values:
        return "{}"
    if None in values:
        return "{" + ",".join(["NULL" if v is None else f'"{_escaped(v)}"' for v in values]) + "}"
    joined = _SEPARATOR.join(cast(Sequence[str], values))
    if joined.count(_SEPARATOR) != len(values) - 1:
        raise ValueError("NUL in text")
    return '{"' + _escaped(joined).replace(_SEPARATOR, '","') + '"}'


def plain_array(values: Iterable[int | bool]) -> str:
    """Integers and booleans need no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def time_array(values: Iterable[datetime | None]) -> str:
    """Instants with their offset; None becomes NULL. A batch has few different ones."""
    texts: dict[datetime | None, str] = {None: "NULL"}
    parts = []
    for value in values:
        text = texts.get(value)
        if text is None:
            assert value is not None
            text = texts[value] = f'"{value.isoformat()}"'
        parts.append(text)
    return "{" + ",".join(parts) + "}"


def _escaped(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if '"' in text:
        text = text.replace('"', '\\"')
    return text
