"""Asks the moderation hook over HTTP: one POST of a fixed address, signed, bounded in all respects.

With the keys of webhooks (`key_set_client.py`) all HTTP that the ledger speaks as a client.
"""

from __future__ import annotations

import time
from typing import Final

import httpx

from contracts.moderation import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature_of
from ledger_service.errors import Unavailable

ASKED_AT_ONCE_MAX: Final = 32
ANSWER_MAX_BYTES: Final = 4 * 1024
READ_SECONDS: Final = 5.0
"""For whatever is left hanging: who asks does not wait as long."""
KEEP_ALIVE_SECONDS: Final = 3.0
"""Shorter than the servers' own (5 s is common), so that few calls meet one that closes."""


class ModerationClient:
    """One endpoint under one secret. Bound to the event loop that first uses it."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._secret = secret
        self._client = httpx.AsyncClient(
            # A compressed answer could unfold to any size.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            limits=httpx.Limits(
                max_connections=ASKED_AT_ONCE_MAX, keepalive_expiry=KEEP_ALIVE_SECONDS
            ),
            trust_env=False,
            timeout=READ_SECONDS,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def ask(self, inquiry: bytes) -> bytes:
        """The body of a small, plain 200. Raises `Unavailable` for anything else; how long
        that may take is for the caller to say."""
        try:
            try:
                return await self._post(inquiry)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A kept connection may have died unnoticed, and asking twice does no harm.
                return await self._post(inquiry)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(type(error).__name__) from None

    async def _post(self, inquiry: bytes) -> bytes:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature_of(self._secret, timestamp, inquiry),
        }
        asking = self._client.stream("POST", self._url, content=inquiry, headers=headers)
        async with asking as answer:
            if answer.status_code != 200:
                raise Unavailable(f"http_{answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > ANSWER_MAX_BYTES:
                    raise Unavailable("answer_too_large")
            return bytes(body)
