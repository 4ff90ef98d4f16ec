"""Files that callers give as inputs: kept for a while, at an address that providers can fetch."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import IO, Final

import msgspec
from psycopg import AsyncRawCursor

from contracts.limits import UPLOADS_KEPT_MAX_BYTES
from contracts.media import HEAD_BYTES, MEDIA_TYPES, UPLOADS_FOLDER, MediaType, sniff
from contracts.problems import ProblemCode
from ledger_service.errors import Rejected, Unavailable
from ledger_service.media.library import Link, MediaLibrary
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.statements import load_statements

KEPT_LONGER: Final = timedelta(minutes=10)
"""Beyond its link, whose end is told by another clock; and who began to fetch may end."""
AT_ONCE_MAX: Final = 8
"""Files that one process takes in at a time: bounds its temporary files."""

_SQL: Final = load_statements("uploads")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in the storage."""

    link: Link
    media_type: MediaType
    size_bytes: int
    sha256: str


class Uploads:
    """Takes files in. `life`: how long each can be fetched."""

    def __init__(self, pool: ReadPool, library: MediaLibrary, life: timedelta) -> None:
        self._pool = pool
        self._library = library
        self._life = life
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Room for one file that comes in. Raises `Unavailable` when there is none."""
        if self._room.locked():
            raise Unavailable("too many uploads", retry_after_seconds=5)
        async with self._room:
            yield

    async def keep(self, file: IO[bytes], tenant: str, base_url: str) -> Stored:
        """Store a whole file for a tenant.

        Raises `Rejected` (`unsupported_media_type`, `limit_reached`), and `Unavailable` when the
        database or the storage does not take it. The note comes first and stays whatever happens
        then: a file that is stored after all, with nobody to hear of it, is removed all the same.
        """
        media_type, size_bytes, sha256 = await asyncio.to_thread(_described, file)
        key = f"{UPLOADS_FOLDER}/{secrets.token_hex(16)}{media_type.extension}"
        await self._note(key, tenant, size_bytes)
        await self._library.store(key, file, media_type)
        link = await self._library.link(key, base_url, self._life)
        return Stored(link=link, media_type=media_type, size_bytes=size_bytes, sha256=sha256)

    async def _note(self, key: str, tenant: str, size_bytes: int) -> None:
        values = (key, tenant, size_bytes, self._life + KEPT_LONGER, UPLOADS_KEPT_MAX_BYTES)

        async def work(connection: Connection) -> bool:
            cursor = AsyncRawCursor(connection)
            await cursor.execute(_SQL["note_upload"], values)
            return await cursor.fetchone() is not None

        if not await self._pool.write(work):
            raise Rejected(ProblemCode.LIMIT_REACHED, uploads_max_bytes=UPLOADS_KEPT_MAX_BYTES)


def _described(file: IO[bytes]) -> tuple[MediaType, int, str]:
    file.seek(0)
    media_type = sniff(file.read(HEAD_BYTES))
    if media_type is None:
        known = tuple(each.content_type for each in MEDIA_TYPES)
        raise Rejected(ProblemCode.UNSUPPORTED_MEDIA_TYPE, media_types=known)
    file.seek(0)
    digest = hashlib.file_digest(file, hashlib.sha256)  # type: ignore[arg-type]
    return media_type, file.tell(), digest.hexdigest()
