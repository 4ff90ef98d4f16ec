"""Connections to the database whose silence is noticed."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

_LIMITS: Final = {
    "connect_timeout": 2,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
"""libpq's own parameters: seconds, the last one milliseconds. The kernel by itself would wait a
quarter of an hour for a server that was cut off."""


def watched(url: str) -> str:
    """How to reach the database of `url` so that a dead connection breaks within seconds."""
    return make_conninfo(url, **_LIMITS)


async def connect(url: str) -> psycopg.AsyncConnection[Any]:
    """A connection for work in the background: whatever it waits for ends within seconds."""
    return await psycopg.AsyncConnection.connect(
        watched(url),
        autocommit=True,
        cursor_factory=psycopg.AsyncRawCursor,
        options="-c statement_timeout=5s -c lock_timeout=1s",
    )
