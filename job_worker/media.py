"""Copy a provider's asset into our storage: fetched from a known host, verified, then stored.

The asset's URL comes out of a remote JSON, so nothing about it is trusted: not the host, not a
redirect, not the stated type or length. The copy is spooled to a temporary file first; storage
only ever sees a file that was read to its end and recognised.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import ipaddress
import logging
import math
import tempfile
import time
from typing import IO, Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
import obstore
from msgspec.structs import replace
from obstore.store import LocalStore, from_url

from contracts.jobs import Asset, Thumbnail
from contracts.limits import ASSET_MAX_BYTES
from contracts.media import HEAD_BYTES, JPEG, MediaType, sniff
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.measuring import DamagedMedia, measure
from job_worker.thumbnails import Thumbnailer

log: Final = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 3.0
STALL_TIMEOUT_SECONDS: Final = 10.0
COPY_TIMEOUT_SECONDS: Final = 120.0
REDIRECTS_MAX: Final = 3
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""How IPv4 is written where there is only IPv6 (RFC 6052)."""
COPIES_MAX: Final = 8
"""Copies at once in one process: bounds what the temporary files can take."""
SPOOL_MAX_BYTES: Final = 1024**2
"""A copy up to this size stays in memory until it is stored."""
PIECE_BYTES: Final = 256 * 1024


class MediaHosts(msgspec.Struct, frozen=True):
    """Hosts that media may come from.

    ``fal.media`` is that host, ``*.fal.media`` any host below it, both by https on its own port.
    ``127.0.0.1:9000`` is exactly that port; plain http is for loopback alone.
    """

    entries: tuple[str, ...]

    def admits(self, url: str) -> bool:
        """Whether an asset may be fetched from `url`."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if parts.username is not None or not host:
            return False
        if parts.scheme == "http" and not _is_loopback(host):
            return False
        if parts.scheme not in {"http", "https"}:
            return False
        return any(_matches(entry, host, port) for entry in self.entries)


class MediaStore:
    """Copies assets from the admitted hosts to `storage_url` (``file:///…`` or ``s3://…``).

    Raises `ProviderRejected` when the asset can never be had or is no media of the wanted kind,
    and `ProviderUnavailable` when another try may do better, our own storage's trouble included.
    """

    def __init__(
        self, storage_url: str, hosts: MediaHosts, thumbnailer: Thumbnailer | None = None
    ) -> None:
        self._thumbnailer = thumbnailer
        self._hosts = hosts
        self._store = open_store(storage_url, mkdir=True)
        self._copies = asyncio.Semaphore(COPIES_MAX)
        # No key in its headers: media are public, and the key is for the queue alone.
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(STALL_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=COPIES_MAX, keepalive_expiry=3.0),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

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
                        sha256, size_bytes = await self._download(url, spool)
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

    async def _download(self, url: str, spool: IO[bytes]) -> tuple[str, int]:
        for _ in range(REDIRECTS_MAX + 1):
            if not self._hosts.admits(url):
                raise ProviderRejected("media_refused")
            try:
                async with self._client.stream("GET", url) as response:
                    _check_peer(response, url)
                    if response.next_request is None:
                        _check_status(response)
                        return await _drain(response, spool)
                    url = str(response.next_request.url)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ProviderUnavailable(f"media_{type(error).__name__}") from None
        raise ProviderRejected("media_refused")

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


async def _drain(response: httpx.Response, spool: IO[bytes]) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    async for piece in response.aiter_raw(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > ASSET_MAX_BYTES:
            raise ProviderRejected("media_too_large")
        digest.update(piece)
        spool.write(piece)
    return digest.hexdigest(), size_bytes


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


def _check_status(response: httpx.Response) -> None:
    if response.status_code in {404, 410}:
        raise ProviderRejected("media_lost", retryable=True)
    if response.status_code != 200:
        raise ProviderUnavailable(f"media_http_{response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ProviderUnavailable("media_encoded")
    length = response.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > ASSET_MAX_BYTES:
        raise ProviderRejected("media_too_large")


def _check_peer(response: httpx.Response, url: str) -> None:
    """Refuse an answer from a private address, however its name came to point there.

    The address is the connection's own, so a name that resolves differently each time gains
    nothing. Loopback was admitted by name already, for the emulator.
    """
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None or _is_loopback(urlsplit(url).hostname or ""):
        return
    if not _is_public(peer[0]):
        raise ProviderRejected("media_refused")


def _matches(entry: str, host: str, port: int | None) -> bool:
    name, colon, entry_port = entry.rpartition(":")
    if colon:
        return host == name.strip("[]") and str(port) == entry_port
    if port not in {None, 443}:
        return False
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also when it stands for one of IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        low_bits = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        translated = low_bits if found in _TRANSLATED else None
        found = translated or found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def open_store(storage_url: str, *, mkdir: bool) -> Any:
    """The storage behind `file:///…` or `s3://…`. Raises `obstore.exceptions.BaseError` for a
    folder that is not there, unless `mkdir` has it made."""
    parts = urlsplit(storage_url)
    if parts.scheme == "file":
        return LocalStore(parts.path, mkdir=mkdir)
    return from_url(storage_url)
