"""Removes from the storage what is not to be there any more.

Assets of generations that were deleted, or kept long enough: removed, then recorded as removed.
Leftovers: copies that a worker stored before it died, and whose report never came. And uploads
whose time is over. A crash between any two of these repeats the rest, which is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import psycopg

from ledger_service.domain.commands import Command, RemoveMedia
from ledger_service.media.following import follow
from ledger_service.media.library import MediaLibrary
from ledger_service.store.statements import load_statements

REMOVALS_MAX: Final = 100
"""Generations whose assets are removed in one turn."""
LOOKS_MAX: Final = 200
"""Generations that are looked at for leftovers in one turn."""
LOOKS_AT_ONCE: Final = 16
UPLOADS_MAX: Final = 200
"""Uploads that are removed in one turn."""

Connection = psycopg.AsyncConnection[Any]
Submit = Callable[[Sequence[Command]], Awaitable[bool]]

_SQL: Final = load_statements("media")
_UPLOADS: Final = load_statements("uploads")
_log = logging.getLogger(__name__)


class MediaRemoval:
    """One turn follows the log a stretch further and removes some of what is due."""

    def __init__(self, library: MediaLibrary, submit: Submit, leftovers_after: timedelta) -> None:
        self._library = library
        self._submit = submit
        self._leftovers_after = leftovers_after

    async def turn(self, connection: Connection) -> None:
        """Raises `psycopg.Error`; trouble with the storage is logged and tried again later."""
        await follow(connection, self._leftovers_after)
        if self._library.has_storage:
            await self._remove_assets(connection)
            await self._remove_leftovers(connection)
            await self._remove_uploads(connection)

    async def _remove_assets(self, connection: Connection) -> None:
        cursor = await connection.execute(_SQL["due"], (REMOVALS_MAX,))
        for owner, generation_id, keys in await cursor.fetchall():
            is_gone = await _gone(generation_id, self._library.remove(keys))
            command = RemoveMedia(owner=owner, generation_id=generation_id)
            # As long as the log does not say so, it is to be done again.
            is_over = is_gone and await self._submit([command])
            verdict = "forget" if is_over else "postpone"
            await connection.execute(_SQL[verdict], (owner, generation_id))

    async def _remove_leftovers(self, connection: Connection) -> None:
        cursor = await connection.execute(_SQL["leftovers"], (LOOKS_MAX,))
        due = await cursor.fetchall()
        for first in range(0, len(due), LOOKS_AT_ONCE):
            some = due[first : first + LOOKS_AT_ONCE]
            looks = [self._library.remove_others(names[1], kept) for *names, _, kept in some]
            outcomes = await asyncio.gather(
                *[_gone(names[1], look) for (*names, _, _), look in zip(some, looks, strict=True)]
            )
            for (*names, look_at, _), is_gone in zip(some, outcomes, strict=True):
                verdict = "forget_leftovers" if is_gone else "postpone_leftovers"
                await connection.execute(_SQL[verdict], (*names, look_at))

    async def _remove_uploads(self, connection: Connection) -> None:
        cursor = await connection.execute(_UPLOADS["uploads_due"], (UPLOADS_MAX,))
        keys = [key for (key,) in await cursor.fetchall()]
        if keys:
            is_gone = await _gone("uploads", self._library.remove(keys))
            verdict = "forget_uploads" if is_gone else "postpone_uploads"
            await connection.execute(_UPLOADS[verdict], (keys,))


async def _gone(whose: str, removal: Awaitable[None]) -> bool:
    """Whether a removal went through."""
    try:
        await removal
    except Exception as error:  # whatever the storage's library raises
        _log.warning("media of %s stay: %s", whose, type(error).__name__)
        return False
    return True
