"""Copy a provider's asset into our storage: downloaded, verified, then stored.

Nothing about it is trusted, its stated type neither. The copy is spooled to a temporary file first;
storage only ever sees a file that was read to its end and recognised.
"""

from __future__ import annotations

import asyncio
import io
import logging
import math
import tempfile
import time
from typing import IO, Any, Final
from urllib.parse import urlsplit

import obstore
from msgspec.structs import replace
from obstore.store import LocalStore, from_url

from contracts.jobs import Asset, Thumbnail
from contracts.media import HEAD_BYTES, JPEG, MediaType, sniff
from job_worker.downloads import Downloads, MediaHosts
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.measuring import DamagedMedia, measure
from job_worker.thumbnails import Thumbnailer

log: Final = logging.getLogger(__name__)

COPY_TIMEOUT_SECONDS: Final = 120.0
COPIES_MAX: Final = 8
"""Copies at once in one process: bounds what the temporary files can take."""
SPOOL_MAX_BYTES: Final = 1024**2
"""A copy up to this size stays in memory until it is stored."""


class MediaStore:
    """Copies assets from the admitted hosts to `storage_url` (``file:///…`` or ``s3://…``).

    Raises `ProviderRejected` when the asset can never be had or is no media of the wanted kind,
    and `ProviderUnavailable` when another try may do better, our own storage's trouble included.
    """

    def __init__(
        self, storage_url: str, hosts: MediaHosts, thumbnailer: Thumbnailer | None = None
    ) -> None:
        self._thumbnailer = thumbnailer
        self._store = open_store(storage_url, mkdir=True)
        self._copies = asyncio.Semaphore(COPIES_MAX)
        self._downloads = Downloads(hosts, connections_max=COPIES_MAX)

    async def close(self) -> None:
        """Close every connection."""
        await self._downloads.close()

    async def copy(
        self, url: str, asset_key: str, output: str, store_before: float = math.inf
    ) -> Asset:
        """Copy the asset and describe the copy; repeating it is harmless.

        Past `store_before` (monotonic, seconds) nothing is stored any more: whoever tidies up
        behind a generation that has ended must come later than the last of its files.

        The key is `asset_key` plus the content's own digest: the same asset is stored in the same
        place however often it is copied, and no copy ever replaces another asset.
        """
        async with self._copies:
            with tempfile.SpooledTemporaryFile(max_size=SPOOL_MAX_BYTES) as spool:
                try:
                    async with asyncio.timeout(COPY_TIMEOUT_SECONDS):
                        sha256, size_bytes = await self._downloads.fetch(url, spool)
                except TimeoutError:
                    raise ProviderUnavailable("media_timeout") from None
                media_type = _recognise(spool, output)
                asset = _describe(spool, media_type, size_bytes, sha256, asset_key)
                await self._put(asset.key, media_type, spool, store_before)
                if self._thumbnailer is not None:
                    spool.rollover()
                    still = await self._thumbnailer.make(spool, media_type)
                    asset = await self._with_thumbnail(asset, still, store_before)
                return asset

    async def _with_thumbnail(
        self, asset: Asset, still: bytes | None, store_before: float
    ) -> Asset:
        """The asset with its still beside it; without, when that cannot be."""
        if still is None:
            return asset
        key = f"{asset.key.rpartition('.')[0]}-small{JPEG.extension}"
        try:
            size = measure(io.BytesIO(still), JPEG, len(still))
            await self._put(key, JPEG, io.BytesIO(still), store_before)
        except (DamagedMedia, ProviderUnavailable) as error:
            log.warning("no thumbnail: %s", error)
            return asset
        thumbnail = Thumbnail(
            key=key,
            content_type=JPEG.content_type,
            size_bytes=len(still),
            width=size.width or 0,
            height=size.height or 0,
        )
        return replace(asset, thumbnail=thumbnail)

    async def _put(
        self, key: str, media_type: MediaType, file: IO[bytes], store_before: float
    ) -> None:
        if time.monotonic() >= store_before:
            raise ProviderUnavailable("media_too_late")
        attributes: dict[str, Any] = {}
        if not isinstance(self._store, LocalStore):
            attributes = {"attributes": {"Content-Type": media_type.content_type}}
        file.seek(0)
        try:
            # In a thread, from a file: obstore's own uploads of an async iterator have been seen
            # to abort the interpreter at exit.
            await asyncio.to_thread(obstore.put, self._store, key, file, **attributes)
        except (OSError, ValueError, obstore.exceptions.BaseError) as error:
            raise ProviderUnavailable(f"storage_{type(error).__name__}") from None


def _recognise(spool: IO[bytes], output: str) -> MediaType:
    spool.seek(0)
    media_type = sniff(spool.read(HEAD_BYTES))
    if media_type is None or media_type.output != output:
        raise ProviderRejected("media_invalid", retryable=True)
    return media_type


def _describe(
    spool: IO[bytes], media_type: MediaType, size_bytes: int, sha256: str, asset_key: str
) -> Asset:
    try:
        measures = measure(spool, media_type, size_bytes)
    except DamagedMedia:
        raise ProviderUnavailable("media_damaged") from None
    return Asset(
        key=f"{asset_key}-{sha256[:16]}{media_type.extension}",
        content_type=media_type.content_type,
        size_bytes=size_bytes,
        sha256=sha256,
        duration_seconds=measures.duration_seconds,
        width=measures.width,
        height=measures.height,
    )


def open_store(storage_url: str, *, mkdir: bool) -> Any:
    """The storage behind `file:///…` or `s3://…`. Raises `obstore.exceptions.BaseError` for a
    folder that is not there, unless `mkdir` has it made."""
    parts = urlsplit(storage_url)
    if parts.scheme == "file":
        return LocalStore(parts.path, mkdir=mkdir)
    return from_url(storage_url)
