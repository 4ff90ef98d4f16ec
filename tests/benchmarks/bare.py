"""The second yardstick for HTTP: an ASGI application that looks at nothing and always answers
the same. No framework can be faster under this server."""

from __future__ import annotations

from typing import Any

import msgspec

BODY = msgspec.json.encode(
    {"position": 123456, "account": {"account_id": "bench-0"}, "x": 500 * "x"}
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One answer for everything."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["method"] == "POST":
        await receive()
    status = 201 if scope["method"] == "POST" else 200
    await send({"type": "http.response.start", "status": status, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
