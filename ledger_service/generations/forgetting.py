"""Notes what providers are to forget: what was deleted, kept long enough, or of an erased person.

A follower of the log writes one row for each such generation; when the key of their owner is
destroyed, a trigger of the table does. Workers are handed what is due and say how it went
(`api/forgettings.py`); what nobody could do in so many tries is given up here.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import psycopg

from ledger_service.store.forgettings import TRIES_MAX
from ledger_service.store.statements import load_statements
from ledger_service.store.stretches import next_stretch

Connection = psycopg.AsyncConnection[Any]

_SQL: Final = load_statements("forgettings")
_log = logging.getLogger(__name__)


async def note_forgettings(connection: Connection) -> None:
    """Follow the log a stretch further, and give up what is hopeless. Raises `psycopg.Error`."""
    async with next_stretch(connection, "forgettings") as stretch:
        if stretch is not None:
            await connection.execute(_SQL["note"], stretch)
            await connection.execute(_SQL["note_late"], stretch)
    cursor = await connection.execute(_SQL["give_up"], (TRIES_MAX,))
    for generation_id, reason in await cursor.fetchall():
        _log.error("the provider keeps what it has of %s: %s", generation_id, reason)
