"""The storage: links to files, and the bytes behind them when it is a local folder.

An object store signs its own links; for a folder the ledger serves the file itself, to whoever
holds a link that it signed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlencode

import msgspec
import obstore
from obstore.store import LocalStore, from_url

from contracts.media import MediaType
from contracts.problems import ProblemCode
from ledger_service.errors import Rejected, Unavailable
from ledger_service.media.own_thread import in_own_thread
from ledger_service.signing import Signer

LINK_LIFE: Final = timedelta(hours=1)
PURPOSE: Final = "media"
PIECE_BYTES: Final = 256 * 1024
PATH: Final = "/v1/media/"
_LINK: Final = re.compile(
    rf"(https?://[A-Za-z0-9.:\[\]-]+(?:/[\w.~-]+)*){PATH}([\w.-]+/[\w.-]+)"
    r"\?expires=(\d{1,12})&signature=([0-9a-f]{64})",
    re.ASCII,
)
_THIS_MACHINE: Final = re.compile(r"https?://(127\.0\.0\.1|\[::1\]|localhost)(:\d{1,5})?")
_log = logging.getLogger(__name__)


class Link(msgspec.Struct, frozen=True):
    """Where an asset can be had until `expires_at`."""

    url: str
    expires_at: datetime


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """An asset that is about to be sent: bytes `start` up to (not including) `end`; `is_part`:
    because just those were asked for."""

    size_bytes: int
    start: int
    end: int
    is_part: bool
    pieces: AsyncIterator[bytes]


class MediaLibrary:
    """Files under `storage_url` (`file:///…` or `s3://…`). `public_url`: how others reach us."""

    def __init__(self, storage_url: str, signer: Signer, public_url: str = "") -> None:
        self._signer = signer
        self._public_url = public_url.rstrip("/")
        self._root: Path | None = None
        self._store: Any = None
        if storage_url.startswith("file://"):
            self._root = Path(storage_url.removeprefix("file://"))
            self._store = LocalStore(self._root, mkdir=True, automatic_cleanup=True)
        elif storage_url:
            self._store = from_url(storage_url)

    @property
    def has_storage(self) -> bool:
        """Whether there is a storage at all."""
        return self._store is not None

    async def link(self, key: str, base_url: str, life: timedelta | None = None) -> Link:
        """A fresh link; `base_url` is how the caller reached the ledger."""
        life = life or LINK_LIFE
        expires_at = datetime.now(UTC).replace(microsecond=0) + life
        if self._store is not None and self._root is None:
            url = await obstore.sign_async(self._store, "GET", key, life)
            return Link(url, expires_at)
        expires = int(expires_at.timestamp())
        query = {"expires": expires, "signature": self._signer.sign(PURPOSE, key, expires)}
        return Link(f"{base_url.rstrip('/')}{PATH}{key}?{urlencode(query)}", expires_at)

    def is_own_link(self, text: str) -> bool:
        """Whether a text is a link of ours that still opens a file, at the address that we are
        known under; where none is set, on this machine."""
        found = _LINK.fullmatch(text)
        if found is None or self._root is None:
            return False
        base, key, expires, signature = found.groups()
        known = self._public_url
        is_here = base == known if known else _THIS_MACHINE.fullmatch(base) is not None
        is_open = int(expires) >= datetime.now(UTC).timestamp()
        return is_here and is_open and self._signer.is_genuine(signature, PURPOSE, key, expires)

    async def store(self, key: str, file: IO[bytes], media_type: MediaType) -> None:
        """Store a whole file under a new key. Raises `Unavailable`, after which it may be there.

        Takes as long as the storage does, a thread of its own included: who calls bounds how many
        there are.
        """
        if self._store is None:
            raise Unavailable("there is no storage")
        attributes: dict[str, Any] = {}
        if self._root is None:
            attributes = {"attributes": {"Content-Type": media_type.content_type}}
        file.seek(0)
        try:
            await in_own_thread(partial(obstore.put, self._store, key, file, **attributes))
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            _log.warning("the storage does not take a file: %s", type(error).__name__)
            raise Unavailable("the storage does not take it") from None

    async def open(
        self, key: str, expires: int, signature: str, wanted: tuple[int | None, int | None] | None
    ) -> StoredFile:
        """Open a local asset, or the `wanted` part of it (first and last byte, as in a Range).

        Raises `Rejected` (`not_found`) for a link that is not ours, has expired, or whose asset
        is gone; all of them look the same. And `range_not_satisfiable` for a part beyond its end.
        """
        is_genuine = self._signer.is_genuine(signature, PURPOSE, key, expires)
        if self._root is None or not is_genuine or expires < datetime.now(UTC).timestamp():
            raise Rejected(ProblemCode.NOT_FOUND)
        try:
            meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            raise Rejected(ProblemCode.NOT_FOUND) from None
        size = meta["size"]
        start, end = _bounds(wanted, size)
        return StoredFile(
            size_bytes=size,
            start=start,
            end=end,
            is_part=wanted is not None,
            pieces=self._pieces(key, start, end),
        )

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove assets; those that are gone already are no trouble."""
        for key in keys:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    async def remove_others(self, folder: str, kept: Collection[str]) -> None:
        """Remove every file below a folder whose key is not `kept`, half-written ones included."""
        if self._root is not None:
            await asyncio.to_thread(_clear, self._root, folder, kept)
            return
        async for some in obstore.list(self._store, folder):
            await self.remove([file["path"] for file in some if file["path"] not in kept])

    async def _pieces(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            stop = min(start + PIECE_BYTES, end)
            piece = await obstore.get_range_async(self._store, key, start=start, end=stop)
            yield bytes(piece)
            start = stop


def _clear(root: Path, folder: str, kept: Collection[str]) -> None:
    """Listed by hand: the store does not show what a writer that was killed had begun."""
    for path in (root / folder).glob("*"):
        if f"{folder}/{path.name}" not in kept:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        (root / folder).rmdir()


def _bounds(wanted: tuple[int | None, int | None] | None, size: int) -> tuple[int, int]:
    """The half-open interval that a Range asks for."""
    if wanted is None:
        return 0, size
    first, last = wanted
    if first is None:
        first, last = max(size - (last or 0), 0), None
    if first >= size:
        raise Rejected(ProblemCode.RANGE_NOT_SATISFIABLE, size_bytes=size)
    return first, size if last is None else min(last + 1, size)
