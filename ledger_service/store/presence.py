"""Processes of workers as they say that they are there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from contracts.presence import PresenceRequest
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

PRESENT: Final = timedelta(seconds=60)
"""Who has said nothing for longer is gone."""
_SQL: Final = load_statements("presence")


class Present(NamedTuple):
    """What a process said, and how many seconds ago."""

    age_seconds: float
    told: PresenceRequest


async def note_presence(connection: Connection, told: PresenceRequest) -> None:
    """A process is there."""
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL["note"], (told.worker, msgspec.json.encode(told)))


async def read_presence(connection: Connection) -> list[Present]:
    """Everybody who is there, by name. What newer code said in other words is passed over."""
    cursor: AsyncRawCursor[Any] = AsyncRawCursor(connection)
    await cursor.execute(_SQL["present"], (PRESENT,))
    found = []
    for age_seconds, told in await cursor.fetchall():
        try:
            found.append(Present(age_seconds, msgspec.json.decode(told, type=PresenceRequest)))
        except msgspec.ValidationError:
            continue
    return found
