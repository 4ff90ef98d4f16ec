"""One call of the ledger: a time limit, an answer decoded into its Struct, and careful retries.

Only calls that are harmless to repeat are repeated: reads, writes under an idempotency key and
reports. A refusal (any 4xx) is never repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from contracts.client.errors import LedgerRejected, LedgerUnavailable
from contracts.problems import Problem, ProblemCode

Reply = TypeVar("Reply")

CALL_TIMEOUT_SECONDS: Final = 5.0
"""Above the 2.5 s after which the ledger itself answers a write with 503."""
CONNECT_TIMEOUT_SECONDS: Final = 2.0
TRIES_MAX: Final = 4
RETRY_FIRST_SECONDS: Final = 0.1
RETRY_MAX_SECONDS: Final = 2.0
CONNECTIONS_MAX: Final = 8
"""Few on purpose: each call looks at all connections, more than once, so that 32 of them cost
twice the CPU of 8 (2.4 against 1.1 ms a call), and 8 carry 1,000 short calls a second."""
KEEP_ALIVE_SECONDS: Final = 3.0
"""Shorter than the servers' own (5 s is common), so that no call meets a connection that closes."""

NOT_APPLIED: Final = frozenset(
    {
        ProblemCode.UNAVAILABLE,
        ProblemCode.NOT_CAUGHT_UP,
        ProblemCode.MODERATION_UNAVAILABLE,
    }
)
"""What a 503 says that certainly had no effect."""


class Transport:
    """Connections to one ledger under one API key. Bound to the event loop that first uses it."""

    def __init__(
        self, base_url: str, api_key: str, *, connections_max: int, language: str | None
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        if language is not None:
            headers["Accept-Language"] = language
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers=headers,
            limits=httpx.Limits(
                max_connections=connections_max,
                max_keepalive_connections=connections_max,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
            ),
            # A proxy named in the environment must not see the key.
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        reply_type: type[Reply],
        *,
        body: msgspec.Struct | None = None,
        query: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        repeatable: bool = False,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> Reply:
        """Make one call; `timeout_seconds` bounds each try, not their sum.

        Repeats it up to `TRIES_MAX` times when it is `repeatable`, has a key, or is a GET. Raises
        `LedgerRejected` and `LedgerUnavailable`.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        request = self._client.build_request(
            method, path, params=query, headers=headers, content=content,
            timeout=httpx.Timeout(timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
        )  # fmt: skip
        tries_left = TRIES_MAX if repeatable or idempotency_key or method == "GET" else 1
        pause_seconds = RETRY_FIRST_SECONDS
        while True:
            tries_left -= 1
            try:
                return await self._once(request, reply_type, timeout_seconds)
            except LedgerUnavailable as error:
                if tries_left == 0:
                    raise
                # Jitter, so that callers that failed together do not come back together.
                await asyncio.sleep(
                    min(error.retry_after_seconds or 0.0, RETRY_MAX_SECONDS)
                    + random.uniform(0, pause_seconds)
                )
                pause_seconds = min(2 * pause_seconds, RETRY_MAX_SECONDS)

    async def _once(
        self, request: httpx.Request, reply_type: type[Reply], timeout_seconds: float
    ) -> Reply:
        operation = f"{request.method} {request.url.path}"
        try:
            # httpx limits each read; a server that drips bytes is limited here.
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS + timeout_seconds):
                response = await self._client.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise LedgerUnavailable(operation, "connect", not_applied=True) from None
        except (httpx.TimeoutException, TimeoutError):
            raise LedgerUnavailable(operation, "timeout") from None
        except httpx.HTTPError:
            raise LedgerUnavailable(operation, "broken") from None
        if not response.is_success:
            retry_after = _retry_after(response)
            raise failure_of(operation, response.status_code, response.content, retry_after)
        try:
            return msgspec.json.decode(response.content, type=reply_type)
        except (msgspec.MsgspecError, RecursionError):
            raise LedgerUnavailable(operation, "unreadable") from None


class Client:
    """Base of the clients: one transport, closed at the end of its `async with`.

    `language` is what texts for people are asked for in, as `Accept-Language` has it (`tr`, or
    `es, en;q=0.5`).
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        connections_max: int = CONNECTIONS_MAX,
        language: str | None = None,
    ) -> None:
        self._transport = Transport(
            base_url, api_key, connections_max=connections_max, language=language
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()


def failure_of(
    operation: str, status: int, content: bytes, retry_after_seconds: float | None = None
) -> LedgerRejected | LedgerUnavailable:
    """What an answer means that is no success."""
    try:
        problem, fields = Problem.parse(content)
        code = problem.code
    except (msgspec.MsgspecError, RecursionError):
        # A proxy's page, not the ledger's own answer.
        code, fields = f"http_{status}", {}
    if 400 <= status < 500:
        return LedgerRejected(operation, code, status, fields)
    return LedgerUnavailable(
        operation,
        code,
        not_applied=code in NOT_APPLIED,
        retry_after_seconds=retry_after_seconds,
    )


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def segment(text: str) -> str:
    """One path segment: an id with a slash in it must not become another path."""
    return quote(text, safe="")
