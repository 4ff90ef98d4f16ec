"""Server-sent events: what every stream has in common."""

from __future__ import annotations

import abc
import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from litestar.types import Receive, Send
from litestar.types import Scope as ConnectionScope

from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.http_reply import HttpReply, until_gone
from ledger_service.errors import Rejected, Unavailable

HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 2_000
"""What a client that lost the connection should wait before it comes again."""
EVENT_STREAM: Final = b"text/event-stream"
_OUTAGE_SECONDS: Final = 1.0
_VERSION: Final = re.compile(rb"\d{1,18}")

Seen = TypeVar("Seen")


def last_event_id(call: Call) -> int:
    """The version that the client knows, as browsers send it when they come again; 0 for none."""
    text = call.headers.get(b"last-event-id")
    if not text:
        return 0
    if not _VERSION.fullmatch(text):
        raise fault("Last-Event-ID", "must be the id of an event of this stream")
    return int(text)


class EventStream(HttpReply, abc.ABC):
    """Goes on until the client, the key, the process or the thing that is watched ends.

    `tell` is called at the beginning, whenever something happened on the account `owner`, and at
    the latest after `look_seconds`.
    """

    look_seconds = HEARTBEAT_SECONDS

    def __init__(self, call: Call, owner: str) -> None:
        super().__init__(b"", 200, EVENT_STREAM)
        self.headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-store")]
        self._call = call
        self._owner = owner

    @abc.abstractmethod
    async def tell(self, send: Send) -> bool:
        """Send what is new; False when nothing more will come."""

    async def insisting(self, read: Callable[[], Awaitable[Seen]]) -> Seen:
        """Read over an outage of the database: the client need not come again for it."""
        while True:
            try:
                return await read()
            except Unavailable:
                await asyncio.sleep(_OUTAGE_SECONDS)

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Send the head, then follow the account beside a watch on the client."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send_chunk(send, b"retry: %d\n\n" % RETRY_MILLISECONDS)
        following = asyncio.ensure_future(self._follow(send))
        leaving = asyncio.ensure_future(until_gone(receive))
        draining = asyncio.ensure_future(self._call.services.draining.wait())
        parts: list[asyncio.Future[Any]] = [following, leaving, draining]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in parts:
            part.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + HEARTBEAT_SECONDS
        with self._call.services.follower.watch(self._owner) as changed:
            while True:
                changed.clear()
                if not await self.tell(send):
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), self.look_seconds)
                    continue
                if loop.time() >= beat_at:
                    if not await self._is_welcome():
                        return
                    await send_chunk(send, b": alive\n\n")
                    beat_at = loop.time() + HEARTBEAT_SECONDS

    async def _is_welcome(self) -> bool:
        """Whether the key still holds; nobody is sent away because nobody can tell."""
        services, header = self._call.services, self._call.headers.get(b"authorization")
        try:
            await services.authenticator.identify(header)
        except Rejected:
            return False
        except Unavailable:
            return True
        return True


async def send_event(send: Send, name: bytes, data: bytes, event_id: str | None = None) -> None:
    """One event; with an id the client can say later what it knows."""
    head = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    await send_chunk(send, b"%sevent: %s\ndata: %s\n\n" % (head, name, data))


async def send_chunk(send: Send, chunk: bytes) -> None:
    """A part of the stream."""
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
