"""Follows the log to know which files there are, until when, and where others may lie."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from ledger_service.domain.events import decode
from ledger_service.domain.events.generation import (
    GenerationDeleted,
    GenerationEnded,
    GenerationEvent,
    GenerationSucceeded,
    LateFactRecorded,
)
from ledger_service.errors import CorruptHistory
from ledger_service.store.statements import load_statements
from ledger_service.store.stretches import next_stretch

Connection = psycopg.AsyncConnection[Any]

_SQL: Final = load_statements("media")
_log = logging.getLogger(__name__)


async def follow(connection: Connection, leftovers_after: timedelta) -> None:
    """Note a stretch of the log, and how far it was read, in one transaction.

    What a generation may have left is looked for `leftovers_after` its end.
    """
    async with next_stretch(connection, "media") as stretch:
        if stretch is None:
            return
        cursor = await connection.execute(_SQL["stretch"], stretch)
        for owner, stream, topic, state, recorded_at in await cursor.fetchall():
            generation_id = stream.rpartition("/")[2]
            try:
                event = decode(topic, state)
            except CorruptHistory as error:  # a replay will say so; the others go on
                _log.error("media of %s: %s", generation_id, error)
                continue
            assert isinstance(event, GenerationEvent)
            names = (owner, generation_id)
            await _note(connection, names, event, recorded_at)
            if _may_have_left(event):
                values = (*names, _keys(event), recorded_at + leftovers_after)
                await connection.execute(_SQL["expect_leftovers"], values)


async def _note(
    connection: Connection, names: tuple[str, str], event: GenerationEvent, at: datetime
) -> None:
    if isinstance(event, GenerationSucceeded):
        values = (*names, _keys(event), event.media_until)
        await connection.execute(_SQL["note"], values)
    elif isinstance(event, GenerationDeleted):
        await connection.execute(_SQL["end"], (*names, at))


def _may_have_left(event: GenerationEvent) -> bool:
    """Workers before the last one may have stored a copy and died; and a copy that comes after a
    refund is nobody's."""
    if isinstance(event, LateFactRecorded):
        return event.fact == "succeeded"
    return isinstance(event, GenerationSucceeded | GenerationEnded)


def _keys(event: GenerationEvent) -> list[str]:
    if isinstance(event, GenerationSucceeded):
        return [key for asset in (event.asset, *event.more) for key in asset.keys]
    return []
