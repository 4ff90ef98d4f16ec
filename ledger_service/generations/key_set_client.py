"""Fetches a key set over HTTP: all that the ledger ever asks of a provider, and no secret in it."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from ledger_service.errors import Unavailable

FETCH_SECONDS: Final = 5.0
"""From the first byte sent to the last one read: well within the patience of who waits for us."""
DOCUMENT_MAX_BYTES: Final = 64 * 1024


class KeySetClient:
    """One address; a connection for each fetch, because fetches are hours apart."""

    def __init__(self, url: str) -> None:
        self._url = url
        # Reading the authorities' certificates takes tens of milliseconds: once, and not while
        # the event loop serves others.
        self._context = httpx.create_ssl_context(trust_env=False)

    async def fetch(self) -> bytes:
        """The document as it is served. Raises `Unavailable` for anything but a small, plain 200
        in time; redirects are not followed."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self._read()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise Unavailable(type(error).__name__) from None

    async def _read(self) -> bytes:
        # A compressed answer could unfold to any size.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(verify=self._context, trust_env=False) as client,
            client.stream("GET", self._url, headers=headers, timeout=FETCH_SECONDS) as answer,
        ):
            if answer.status_code != 200:
                raise Unavailable(f"http_{answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > DOCUMENT_MAX_BYTES:
                    raise Unavailable("document_too_large")
            return bytes(body)
