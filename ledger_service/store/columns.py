"""What `append_v2` takes: a batch as one list per column, in the order of the function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

import msgspec

from ledger_service.store.arrays import plain_array
from ledger_service.store.binary import (
    bytea_array,
    int_value,
    text_array,
    time_array,
    time_value,
)
from ledger_service.store.heads import SNAPSHOT_VERSION

LOG: Final = "main"
"""The one log that there is today."""


EventRow = tuple[
    str,
    str,
    int,
    str,
    bytes,
    str | None,
    str | None,
    bytes | None,
    bytes | None,
    str | None,
    datetime,
    datetime,
    bool,
]
"""An event in the order of `EventColumns`."""


class EventColumns(msgspec.Struct, frozen=True):
    """The events of a batch, a sequence per column. `last`: the last one of its command."""

    owner: Sequence[str] = ()
    stream: Sequence[str] = ()
    version: Sequence[int] = ()
    topic: Sequence[str] = ()
    state: Sequence[bytes] = ()
    actor: Sequence[str | None] = ()
    key_space: Sequence[str | None] = ()
    key_digest: Sequence[bytes | None] = ()
    fingerprint: Sequence[bytes | None] = ()
    trace_id: Sequence[str | None] = ()
    occurred_at: Sequence[datetime] = ()
    recorded_at: Sequence[datetime] = ()
    last: Sequence[bool] = ()

    @classmethod
    def of(cls, rows: Sequence[EventRow]) -> EventColumns:
        """Rows turned into columns."""
        return cls(*zip(*rows, strict=True))


HeadRow = tuple[
    str,
    str,
    int,
    int,
    datetime,
    int,
    int,
    int,
    int,
    int,
    str,
    datetime | None,
    bytes,
]
"""A head in the order of `HeadColumns`."""


class HeadColumns(msgspec.Struct, frozen=True):
    """The heads after a batch, a sequence per column, sorted by stream. `before` is the version
    that they had (0: none), `at` the ordinal of their stream's last event."""

    owner: Sequence[str] = ()
    stream: Sequence[str] = ()
    before: Sequence[int] = ()
    version: Sequence[int] = ()
    recorded_at: Sequence[datetime] = ()
    at: Sequence[int] = ()
    posted: Sequence[int] = ()
    held: Sequence[int] = ()
    debt: Sequence[int] = ()
    credit_limit: Sequence[int] = ()
    status: Sequence[str] = ()
    next_expiry_at: Sequence[datetime | None] = ()
    snapshot: Sequence[bytes] = ()

    @classmethod
    def of(cls, rows: Sequence[HeadRow]) -> HeadColumns:
        """Rows turned into columns."""
        return cls(*zip(*rows, strict=True))


class SeenColumns(msgspec.Struct, kw_only=True):
    """Heads that were decided by and do not change. Version 0: there was none."""

    owner: list[str] = msgspec.field(default_factory=list)
    stream: list[str] = msgspec.field(default_factory=list)
    version: list[int] = msgspec.field(default_factory=list)


class KeyColumns(msgspec.Struct, kw_only=True):
    """Idempotency keys that must not have been used."""

    owner: list[str] = msgspec.field(default_factory=list)
    key_space: list[str] = msgspec.field(default_factory=list)
    key_digest: list[bytes] = msgspec.field(default_factory=list)


class SubjectColumns(msgspec.Struct, kw_only=True):
    """Keys of the vault, wrapped, that something new was sealed under: they must still be these."""

    owner: list[str] = msgspec.field(default_factory=list)
    wrapped_key: list[bytes] = msgspec.field(default_factory=list)


class Writes(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a batch leaves in the database. `rows` are those of rarer tables."""

    events: EventColumns
    heads: HeadColumns
    rows: dict[str, Any] = {}


class Reliance(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch that took no locks relies on, to be verified with its append.

    `number` names it on its connection and `after` the batch before it, if it was decided on what
    that one leaves. `now` is what the database's clock was believed to say.
    """

    number: int
    after: int | None
    now: datetime
    seen: SeenColumns
    keys: KeyColumns
    subjects: SubjectColumns


NOTHING_SEEN: Final = SeenColumns()
NO_KEYS: Final = KeyColumns()
NO_SUBJECTS: Final = SubjectColumns()

_TYPES: Final = {
    "version": "bigint",
    "last": "boolean",
    "before": "bigint",
    "at": "bigint",
    "posted": "bigint",
    "held": "bigint",
    "debt": "bigint",
    "credit_limit": "bigint",
    "state": "bytea",
    "snapshot": "bytea",
    "key_digest": "bytea",
    "wrapped_key": "bytea",
    "fingerprint": "bytea",
    "occurred_at": "timestamptz",
    "recorded_at": "timestamptz",
    "next_expiry_at": "timestamptz",
}
"""PostgreSQL's type of each column that is no text."""

Columns = EventColumns | HeadColumns | SeenColumns | KeyColumns | SubjectColumns
Encoder = Callable[[Any], str | bytes]

_ENCODERS: Final[dict[str, Encoder]] = {
    "text": text_array,
    "bigint": plain_array,
    "boolean": plain_array,
    "bytea": bytea_array,
    "timestamptz": time_array,
}


def append_values(
    writes: Writes, relies_on: Reliance | None = None
) -> tuple[str | bytes | None, ...]:
    """The parameters of `append_v2`, as `Line` sends them."""
    by = relies_on
    return (
        LOG,
        int_value(by.number if by else 0),
        int_value(by.after) if by and by.after is not None else None,
        time_value(by.now) if by else None,
        *_encoded(by.seen if by else NOTHING_SEEN),
        *_encoded(by.keys if by else NO_KEYS),
        *_encoded(by.subjects if by else NO_SUBJECTS),
        *_encoded(writes.events),
        *_encoded(writes.heads),
        int_value(SNAPSHOT_VERSION),
        msgspec.json.encode(writes.rows).decode() if writes.rows else None,
    )


def plain_append(events: EventColumns) -> tuple[str, list[Any]]:
    """A call of `append_v2` with events and no heads, for psycopg's own parameters."""
    columns = (NOTHING_SEEN, NO_KEYS, NO_SUBJECTS, events, HeadColumns())
    typed = [
        (type_of(name), list(getattr(each, name))) for each in columns for name in _names(each)
    ]
    arrays = ", ".join(f"%s::{kind}[]" for kind, _ in typed)
    call = f"ledger.append_v2(%s, 0, null, null, {arrays}, {SNAPSHOT_VERSION}, null)"
    return f"SELECT base FROM {call}", [LOG, *(values for _, values in typed)]  # noqa: S608


def type_of(name: str) -> str:
    """PostgreSQL's type of a column's elements."""
    return _TYPES.get(name, "text")


def _names(columns: Columns) -> tuple[str, ...]:
    return columns.__struct_fields__


def _encoded(columns: Columns) -> list[str | bytes]:
    return [encode(getattr(columns, name)) for name, encode in _encoders(type(columns))]


@cache
def _encoders(columns: type[Columns]) -> list[tuple[str, Encoder]]:
    return [(name, _ENCODERS[type_of(name)]) for name in columns.__struct_fields__]
