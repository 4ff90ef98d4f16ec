"""Removes the assets of generations that were deleted, or kept long enough.

A follower of the log notes which assets there are and until when; what is due is removed, then
recorded as removed. A crash between any two of these repeats the rest, which is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import psycopg

from ledger_service.domain.commands import Command, RemoveMedia
from ledger_service.domain.events import decode
from ledger_service.domain.events.generation import GenerationDeleted, GenerationSucceeded
from ledger_service.errors import CorruptHistory
from ledger_service.store.statements import load_statements

STRETCH_MAX: Final = 2_000
"""Positions of the log that are looked at in one transaction."""
REMOVALS_MAX: Final = 100
"""Generations whose assets are removed in one turn."""

Connection = psycopg.AsyncConnection[Any]
Remove = Callable[[Sequence[str]], Awaitable[None]]
Submit = Callable[[Sequence[Command]], Awaitable[None]]

_SQL: Final = load_statements("media")
_log = logging.getLogger(__name__)


class MediaRemoval:
    """One turn follows the log a stretch further and removes some of what is due."""

    def __init__(self, remove: Remove, submit: Submit) -> None:
        self._remove = remove
        self._submit = submit

    async def turn(self, connection: Connection) -> None:
        """Raises `psycopg.Error`; trouble with the storage is logged and tried again later."""
        async with connection.transaction():
            await _follow(connection)
        cursor = await connection.execute(_SQL["due"], (REMOVALS_MAX,))
        for owner, generation_id, keys in await cursor.fetchall():
            try:
                await self._remove(keys)
            except Exception as error:  # whatever the storage's library raises
                _log.warning("media of %s stay: %s", generation_id, type(error).__name__)
                await connection.execute(_SQL["postpone"], (owner, generation_id))
                continue
            await self._submit([RemoveMedia(owner=owner, generation_id=generation_id)])
            await connection.execute(_SQL["forget"], (owner, generation_id))


async def _follow(connection: Connection) -> None:
    cursor = await connection.execute(_SQL["lock"])
    row = await cursor.fetchone()
    if row is None:
        return  # somebody else is at it
    position, head = row
    upto = min(position + STRETCH_MAX, head)
    if upto == position:
        return
    cursor = await connection.execute(_SQL["stretch"], (position, upto))
    for owner, stream, topic, state, recorded_at in await cursor.fetchall():
        generation_id = stream.rpartition("/")[2]
        try:
            event = decode(topic, state)
        except CorruptHistory as error:  # a replay will say so; the others go on
            _log.error("media of %s: %s", generation_id, error)
            continue
        if isinstance(event, GenerationSucceeded):
            keys = [asset.key for asset in (event.asset, *event.more)]
            values = (owner, generation_id, keys, event.media_until)
            await connection.execute(_SQL["note"], values)
        else:
            assert isinstance(event, GenerationDeleted)
            await connection.execute(_SQL["end"], (owner, generation_id, recorded_at))
    await connection.execute(_SQL["advance"], (upto,))
