"""Events as they stand in the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from ledger_service.domain.events import Event, decode


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of an account's stream as it stands in the log."""

    log: str
    position: int
    owner: str
    stream: str
    version: int
    event: Event
    recorded_at: datetime
    actor: str | None


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """From (log, position, owner, stream, version, topic, state, recorded_at, actor, …)."""
    return StoredEvent(
        log=row[0],
        position=row[1],
        owner=row[2],
        stream=row[3],
        version=row[4],
        event=decode(row[5], row[6]),
        recorded_at=row[7],
        actor=row[8],
    )
