"""HTTP to a provider: one request, once, its answer bounded in time and size.

What matters is what is known when no answer comes. A request that met no connection was certainly
not sent; one that failed at any moment after that may have arrived. aiohttp keeps the two apart by
class: only `ClientConnectorError` and `ConnectionTimeoutError` are raised before a byte leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from job_worker.errors import ProviderUnavailable
from job_worker.sessions import open_session

CONNECT_TIMEOUT_SECONDS: Final = 2.0
ANSWER_MAX_BYTES: Final = 4 * 1024**2
ANSWER_TOO_LARGE: Final = "answer_too_large"


class Answer(msgspec.Struct, frozen=True):
    """An answer read to its end; names of headers may be in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Connections under fixed headers, at most `connections_max`; with `fresh`, one per request.

    Bound to the event loop that first uses it. Follows no redirect.
    """

    def __init__(
        self, headers: Mapping[str, str], *, connections_max: int, fresh: bool = False
    ) -> None:
        self._headers = headers
        self._connections_max = connections_max
        self._fresh = fresh
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float,
        most_bytes: int = ANSWER_MAX_BYTES,
    ) -> Answer:
        """Send it. Raises `ProviderUnavailable`, with `not_sent` when no byte left.

        Only a read, or a cancel, on a connection that was kept is sent again, once: the other
        side may have closed it meanwhile.
        """
        try:
            # aiohttp limits each read; a server that drips bytes is limited here.
            async with (
                asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout_seconds),
                self._opened().request(
                    method,
                    _with_query(url, query),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=_limits(timeout_seconds),
                ) as response,
            ):
                body = await _read_bounded(response, most_bytes)
                return Answer(response.status, response.headers, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ProviderUnavailable(type(error).__name__, not_sent=True) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ProviderUnavailable(type(error).__name__) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(
                connections_max=self._connections_max, headers=self._headers, fresh=self._fresh
            )
        return self._session


def is_same_origin(url: str, other: str) -> bool:
    """Whether both URLs, read as they would be sent to, are of one scheme, host and port, and
    `url` names nobody who would be logged in there."""
    try:
        ours, theirs = URL(url), URL(other)
    except ValueError:
        return False
    if ours.user is not None or ours.password is not None:
        return False
    return (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)


def _with_query(url: str, query: Mapping[str, str] | None) -> str:
    return f"{url}?{urlencode(query)}" if query else url


def _limits(timeout_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=CONNECT_TIMEOUT_SECONDS, sock_read=timeout_seconds
    )


async def _read_bounded(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProviderUnavailable("unreadable")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            raise ProviderUnavailable(ANSWER_TOO_LARGE)
    return bytes(body)
