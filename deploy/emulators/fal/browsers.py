"""What browsers and fal's JavaScript client need: answers to other sites, and a proxy.

The client cannot be given other hosts, but a ``proxyUrl``: it then sends every request there, and
names the place that it means in a header. A proxy of an app's own would add the key and pass it
on to fal; this one adds a key, and it goes nowhere but here.
"""

from __future__ import annotations

from typing import Final

import httpx
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from deploy.emulators.fal.direct import PREFIX
from deploy.emulators.fal.outage import is_spared
from deploy.emulators.fal.settings import Settings

PROXY_PATH: Final = "/proxy"
_TARGET: Final = b"x-fal-target-url"
_KEY: Final = b"authorization"
_HOSTS: Final = ("fal.run", "fal.ai", "fal.media")
_ALLOWED: Final = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"authorization, *"),
    (b"access-control-expose-headers", b"*"),
]


def with_browsers(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Let pages of any site ask, as fal does, and take what comes through the proxy."""
    spare_key = (*settings.keys, "proxy:proxy")[0]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or is_spared(scope["path"]):
            return await app(scope, receive, send)
        if scope["method"] == "OPTIONS":
            return await _answer(send, 204)
        if scope["path"] == PROXY_PATH and not _redirect(scope, spare_key):
            return await _answer(send, 400)

        async def send_to_anybody(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_ALLOWED]
            await send(message)

        await app(scope, receive, send_to_anybody)

    return wrapped


def _redirect(scope: Scope, spare_key: str) -> bool:
    """Make a request to the proxy one to the place that it names; False where that is not fal's."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    try:
        target = httpx.URL(headers.get(_TARGET, b"").decode())
    except (httpx.InvalidURL, UnicodeError):
        return False
    if not any(target.host == host or target.host.endswith(f".{host}") for host in _HOSTS):
        return False
    path = (PREFIX if target.host == "fal.run" else "") + target.path
    if is_spared(path):
        return False
    headers.setdefault(_KEY, f"Key {spare_key}".encode())
    scope["headers"] = list(headers.items())
    scope["path"], scope["raw_path"], scope["query_string"] = path, path.encode(), target.query
    return True


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _ALLOWED})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
