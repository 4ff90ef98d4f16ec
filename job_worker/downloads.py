"""Download an asset: from an admitted host at a public address, bounded in time and size.

The asset's URL comes out of a remote JSON, so nothing about it is trusted: not the host, not what
its name resolves to, not a redirect, not the stated length.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from typing import IO, Final
from urllib.parse import urljoin

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from contracts.limits import ASSET_MAX_BYTES
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.sessions import open_session

CONNECT_TIMEOUT_SECONDS: Final = 3.0
STALL_TIMEOUT_SECONDS: Final = 10.0
REDIRECTS_MAX: Final = 3
PIECE_BYTES: Final = 256 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""How IPv4 is written where there is only IPv6 (RFC 6052)."""
_LIMITS: Final = aiohttp.ClientTimeout(
    total=None, connect=CONNECT_TIMEOUT_SECONDS, sock_read=STALL_TIMEOUT_SECONDS
)


class MediaHosts(msgspec.Struct, frozen=True):
    """Hosts that media may come from.

    ``fal.media`` is that host, ``*.fal.media`` any host below it, both by https on its own port.
    ``127.0.0.1:9000`` is exactly that port; plain http is for loopback alone.
    """

    entries: tuple[str, ...]

    def admits(self, url: str) -> bool:
        """Whether an asset may be fetched from `url`."""
        try:
            # Read by what will be asked: two readings of one address are a way around a list.
            parts = URL(url)
            host, port = (parts.raw_host or "").lower(), parts.explicit_port
        except ValueError:
            return False
        if parts.user is not None or parts.password is not None or not host:
            return False
        if parts.scheme == "http" and not _is_loopback(host):
            return False
        if parts.scheme not in {"http", "https"}:
            return False
        if not _may_be_reached(host, host):
            return False
        return any(_matches(entry, host, port) for entry in self.entries)


class Downloads:
    """Downloads from the admitted hosts. Bound to the event loop that first uses it."""

    def __init__(self, hosts: MediaHosts, *, connections_max: int) -> None:
        self._hosts = hosts
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def fetch(self, url: str, spool: IO[bytes]) -> tuple[str, int]:
        """Write the asset to `spool`; its SHA-256 in hex, and its bytes.

        Raises `ProviderRejected` when it can never be had, and `ProviderUnavailable` when another
        try may do better.
        """
        for _ in range(REDIRECTS_MAX + 1):
            if not self._hosts.admits(url):
                raise ProviderRejected("media_refused")
            try:
                async with self._opened().get(
                    url, allow_redirects=False, timeout=_LIMITS
                ) as response:
                    target = response.headers.get("Location")
                    if response.status not in _REDIRECTS or target is None:
                        _check(response)
                        return await _drain(response, spool)
                    url = urljoin(url, target)
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, PrivateAddress):
                    raise ProviderRejected("media_refused") from None
                raise ProviderUnavailable(f"media_{type(error).__name__}") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise ProviderUnavailable(f"media_{type(error).__name__}") from None
        raise ProviderRejected("media_refused")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No key in its headers: media are public, and the key is for the queue alone.
            self._session = open_session(
                connections_max=self._connections_max, resolver=PublicResolver()
            )
        return self._session


class PrivateAddress(OSError):
    """An admitted name that resolves to an address of somebody's own network."""


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that lead into a private network.

    The connection goes to the very address that was judged, so a name that resolves differently
    each time gains nothing. Loopback is for names of loopback, which the hosts admit.
    """

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As the system does it. Raises `PrivateAddress` when any of its addresses is one."""
        found = await self._resolver.resolve(host, port, family)
        if not all(_may_be_reached(host, result["host"]) for result in found):
            raise PrivateAddress
        return found

    async def close(self) -> None:
        """Nothing is held."""


def _check(response: aiohttp.ClientResponse) -> None:
    if response.status in {404, 410}:
        raise ProviderRejected("media_lost", retryable=True)
    if response.status != 200:
        raise ProviderUnavailable(f"media_http_{response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProviderUnavailable("media_encoded")
    if (response.content_length or 0) > ASSET_MAX_BYTES:
        raise ProviderRejected("media_too_large")


async def _drain(response: aiohttp.ClientResponse, spool: IO[bytes]) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    async for piece in response.content.iter_chunked(PIECE_BYTES):
        size_bytes += len(piece)
        if size_bytes > ASSET_MAX_BYTES:
            raise ProviderRejected("media_too_large")
        digest.update(piece)
        spool.write(piece)
    return digest.hexdigest(), size_bytes


def _matches(entry: str, host: str, port: int | None) -> bool:
    name, colon, entry_port = entry.rpartition(":")
    if colon:
        return host == name.strip("[]") and str(port) == entry_port
    if port not in {None, 443}:
        return False
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def _may_be_reached(host: str, address: str) -> bool:
    """Whether `address`, if it is one and no name, is public; a loopback host may be loopback."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if found.is_loopback:
        return _is_loopback(host)
    if isinstance(found, ipaddress.IPv6Address):
        # An address of IPv6 that stands for one of IPv4 is as public as that one.
        low_bits = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        translated = low_bits if found in _TRANSLATED else None
        found = translated or found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
