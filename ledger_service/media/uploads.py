"""Files that callers give as inputs: kept for a while, at an address that providers can fetch."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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
"""Files that one process takes in at a time: bounds its temporary files, and the threads that a
hung storage keeps."""
TENANT_AT_ONCE_MAX: Final = 2
"""Of them, how many may be one tenant's: who sends slowly, or not at all, is in nobody's way."""
STORE_WAIT_SECONDS: Final = 60.0
RETRY_AFTER_SECONDS: Final = 5
"""When there may be room again."""

_SQL: Final = load_statements("uploads")
_log = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in the storage."""

    link: Link
    media_type: MediaType
    size_bytes: int
    sha256: str


class Room:
    """A place for one file of a tenant."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.storing: asyncio.Task[None] | None = None


class Uploads:
    """Takes files in. `life`: how long each can be fetched. `store_wait_seconds`: how long the
    storage may take before the caller is told that it does not take the file."""

    def __init__(
        self,
        pool: ReadPool,
        library: MediaLibrary,
        life: timedelta,
        store_wait_seconds: float = STORE_WAIT_SECONDS,
    ) -> None:
        self._pool = pool
        self._library = library
        self._life = life
        self._store_wait_seconds = store_wait_seconds
        self._rooms: list[Room] = []

    @contextmanager
    def room(self, tenant: str) -> Iterator[Room]:
        """Room for one file that comes in. Raises `Unavailable` when there is none, at all or for
        the tenant. One whose file the storage is still at stays taken, whether or not somebody
        waits for that."""
        of_tenant = sum(room.tenant == tenant for room in self._rooms)
        if len(self._rooms) >= AT_ONCE_MAX or of_tenant >= TENANT_AT_ONCE_MAX:
            raise Unavailable("too many uploads", retry_after_seconds=RETRY_AFTER_SECONDS)
        room = Room(tenant)
        self._rooms.append(room)
        try:
            yield room
        finally:
            if room.storing is None:
                self._rooms.remove(room)
            else:
                room.storing.add_done_callback(lambda _: self._rooms.remove(room))

    async def keep(self, file: IO[bytes], room: Room, base_url: str) -> Stored:
        """Store a whole file for the tenant whose room it came into.

        Raises `Rejected` (`unsupported_media_type`, `limit_reached`), and `Unavailable` when the
        database or the storage does not take it. The note comes first and stays whatever happens
        then: a file that is stored after all, with nobody to hear of it, is removed all the same.
        """
        media_type, size_bytes, sha256 = await asyncio.to_thread(_described, file)
        key = f"{UPLOADS_FOLDER}/{secrets.token_hex(16)}{media_type.extension}"
        await self._note(key, room.tenant, size_bytes)
        room.storing = asyncio.create_task(self._library.store(key, file, media_type))
        await self._ended(room.storing)
        link = await self._library.link(key, base_url, self._life)
        return Stored(link=link, media_type=media_type, size_bytes=size_bytes, sha256=sha256)

    async def _ended(self, storing: asyncio.Task[None]) -> None:
        """Wait, not for ever, and without ending it: it could not be."""
        try:
            async with asyncio.timeout(self._store_wait_seconds):
                await asyncio.shield(storing)
        except TimeoutError:
            _log.warning("the storage has not taken a file in %g s", self._store_wait_seconds)
            raise Unavailable("the storage does not take it") from None

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
