"""Parameters in PostgreSQL's binary format, a whole column at once.

A batch passes dozens of arrays. As text each value would be escaped here and parsed there: that
was a quarter of what the server does for a spend. (Numbers are as cheap as text: see arrays.py.)
Nothing here looks at single values in Python where a loop in C can.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import Final, TypeVar, cast

Value = TypeVar("Value")

_BYTEA, _TEXT, _TIMESTAMPTZ = 17, 25, 1184
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SEPARATOR: Final = "\0"  # no text of PostgreSQL's can hold it
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTHS: Final = [struct.pack("!i", length) for length in range(4096)]


def int_value(value: int) -> bytes:
    """One bigint."""
    return struct.pack("!q", value)


def time_value(value: datetime) -> bytes:
    """One timestamptz."""
    return struct.pack("!q", _microseconds(value))


def text_array(values: Sequence[str | None]) -> bytes:
    """text[]. Raises ValueError for a NUL character."""
    if not values:
        return _head(_TEXT, 0)
    count = len(values)
    if values.count(values[0]) == count:  # one tenant, one topic, one hot account
        return _head(_TEXT, count) + _piece(values[0]) * count
    if None in values:
        return _head(_TEXT, count) + b"".join([_piece(value) for value in values])
    pieces = _SEPARATOR.join(cast(Sequence[str], values)).encode().split(b"\0")
    if len(pieces) != count:
        raise ValueError("NUL in text")
    return _array(_TEXT, pieces)


def bytea_array(values: Sequence[bytes | None]) -> bytes:
    """bytea[]."""
    if None in values:
        return _head(_BYTEA, len(values)) + b"".join([_bytes_piece(value) for value in values])
    return _array(_BYTEA, cast(Sequence[bytes], values))


def time_array(values: Sequence[datetime | None]) -> bytes:
    """timestamptz[]. A batch has few different ones in some columns."""
    known: dict[datetime | None, bytes] = {None: _NULL}
    pieces = []
    for value in values:
        piece = known.get(value)
        if piece is None:
            assert value is not None
            piece = known[value] = struct.pack("!iq", 8, _microseconds(value))
        pieces.append(piece)
    return _head(_TIMESTAMPTZ, len(values)) + b"".join(pieces)


@lru_cache(maxsize=2_048)
def _head(element: int, count: int) -> bytes:
    """One dimension from 1 (none for an empty array); NULLs are announced whether or not any is
    there."""
    if not count:
        return struct.pack("!iiI", 0, 0, element)
    return struct.pack("!iiIii", 1, 1, element, count, 1)


def _array(element: int, pieces: Sequence[bytes]) -> bytes:
    sizes = list(map(len, pieces))
    length: Callable[[int], bytes] = _LENGTHS.__getitem__
    if max(sizes, default=0) >= len(_LENGTHS):
        length = struct.Struct("!i").pack
    return _head(element, len(pieces)) + b"".join(_in_pairs(map(length, sizes), pieces))


def _bytes_piece(value: bytes | None) -> bytes:
    return _NULL if value is None else struct.pack("!i", len(value)) + value


def _piece(value: str | None) -> bytes:
    if value is None:
        return _NULL
    if _SEPARATOR in value:
        raise ValueError("NUL in text")
    return _bytes_piece(value.encode())


def _in_pairs(firsts: Iterable[Value], seconds: Iterable[Value]) -> Iterable[Value]:
    return chain.from_iterable(zip(firsts, seconds, strict=False))


def _microseconds(value: datetime) -> int:
    since = value - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
