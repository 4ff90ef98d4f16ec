"""A finished answer: bytes, ready to be sent."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar.types import Receive, Scope, Send

JSON: Final = b"application/json"
_ENCODER: Final = msgspec.json.Encoder()

Header = tuple[bytes, bytes]


class HttpReply:
    """Status, headers and body; itself the ASGI application that sends them."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        media_type: bytes = JSON,
        headers: tuple[Header, ...] = (),
    ) -> None:
        self.body = body
        self.status = status
        self.headers: list[Header] = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(body)),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def until_gone(receive: Receive) -> None:
    """Until the client has gone. Only for requests whose body, if any, was read."""
    message: Any = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def json_reply(content: Any, status: int = 200, headers: tuple[Header, ...] = ()) -> HttpReply:
    """Anything msgspec can encode."""
    return HttpReply(_ENCODER.encode(content), status, headers=headers)
