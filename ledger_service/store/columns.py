"""The parameters of `append_v1`: a batch as one list per column, in the order of the function."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger_service.store.arrays import bytea_array, plain_array, text_array, time_array
from ledger_service.store.heads import SNAPSHOT_VERSION


class EventColumns(msgspec.Struct, kw_only=True):
    """The events of a batch, a list per column."""

    owner: list[str] = msgspec.field(default_factory=list)
    stream: list[str] = msgspec.field(default_factory=list)
    version: list[int] = msgspec.field(default_factory=list)
    topic: list[str] = msgspec.field(default_factory=list)
    state: list[str] = msgspec.field(default_factory=list)
    actor: list[str | None] = msgspec.field(default_factory=list)
    key_space: list[str | None] = msgspec.field(default_factory=list)
    key_digest: list[bytes | None] = msgspec.field(default_factory=list)
    fingerprint: list[bytes | None] = msgspec.field(default_factory=list)
    trace_id: list[str | None] = msgspec.field(default_factory=list)
    occurred_at: list[datetime | None] = msgspec.field(default_factory=list)
    recorded_at: list[datetime | None] = msgspec.field(default_factory=list)
    last: list[bool] = msgspec.field(default_factory=list)


class HeadColumns(msgspec.Struct, kw_only=True):
    """The heads after a batch, a list per column, sorted by stream."""

    owner: list[str] = msgspec.field(default_factory=list)
    stream: list[str] = msgspec.field(default_factory=list)
    is_new: list[bool] = msgspec.field(default_factory=list)
    version: list[int] = msgspec.field(default_factory=list)
    recorded_at: list[datetime | None] = msgspec.field(default_factory=list)
    at: list[int] = msgspec.field(default_factory=list)
    posted: list[int] = msgspec.field(default_factory=list)
    held: list[int] = msgspec.field(default_factory=list)
    debt: list[int] = msgspec.field(default_factory=list)
    credit_limit: list[int] = msgspec.field(default_factory=list)
    status: list[str] = msgspec.field(default_factory=list)
    next_expiry_at: list[datetime | None] = msgspec.field(default_factory=list)
    snapshot: list[str] = msgspec.field(default_factory=list)


_LITERALS: Final[dict[str, Callable[[Any], str]]] = {
    "version": plain_array,
    "last": plain_array,
    "is_new": plain_array,
    "at": plain_array,
    "posted": plain_array,
    "held": plain_array,
    "debt": plain_array,
    "credit_limit": plain_array,
    "key_digest": bytea_array,
    "fingerprint": bytea_array,
    "occurred_at": time_array,
    "recorded_at": time_array,
    "next_expiry_at": time_array,
}


def append_values(
    log: str, events: EventColumns, heads: HeadColumns, rows: dict[str, Any]
) -> tuple[str | None, ...]:
    """The parameters of `append_v1`."""
    return (
        log,
        *(_literal(events, name) for name in events.__struct_fields__),
        *(_literal(heads, name) for name in heads.__struct_fields__[:-1]),
        str(SNAPSHOT_VERSION),
        text_array(heads.snapshot),
        msgspec.json.encode(rows).decode() if rows else None,
    )


def _literal(columns: EventColumns | HeadColumns, name: str) -> str:
    return _LITERALS.get(name, text_array)(getattr(columns, name))
