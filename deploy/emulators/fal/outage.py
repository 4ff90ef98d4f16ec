"""A total outage: for a stretch of time nobody is answered, except on the admin pages.

Jobs go on behind it, as they would at fal: what fails is the way to them. No webhook is sent.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.database import Facts
from deploy.emulators.fal.errors import GATEWAY, gateway_page
from deploy.emulators.fal.wire import reset, until_disconnected

OutageMode = Literal["refuse", "ignore", "page"]
MEANINGS: Final = {
    "refuse": "every connection is reset",
    "ignore": "requests are taken and never answered",
    "page": "a proxy answers 503 with a page",
}
_LOOK_SECONDS: Final = 0.2
_SPARED: Final = ("/admin", "/health")


class Outage:
    """When the present outage ends, if there is one; it outlives a restart."""

    def __init__(self, facts: Facts, clock: Clock) -> None:
        self._facts = facts
        self._clock = clock

    def begin(self, seconds: float, mode: OutageMode) -> None:
        """Be out for so many seconds from now; 0 ends an outage."""
        self._facts.put("outage_mode", mode)
        self._facts.put("outage_until", self._clock.now() + seconds)

    def ends_at(self) -> float | None:
        """When the present outage ends (epoch seconds); None when all is well."""
        until = self._facts.number("outage_until")
        return until if until is not None and self._clock.now() < until else None

    def mode(self) -> str | None:
        """How requests fare now; None when all is well."""
        return self._facts.text("outage_mode") if self.ends_at() is not None else None


def with_outages(app: ASGIApp, outage: Outage) -> ASGIApp:
    """Put the outage in front of an application."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        mode = outage.mode()
        if mode is None or scope["type"] != ScopeType.HTTP or is_spared(scope["path"]):
            await app(scope, receive, send)
        elif mode == "page":
            await _send_page(send)
        else:
            await _say_nothing(scope, receive, outage, mode)

    return wrapped


def is_spared(path: str) -> bool:
    """Whether a path is the emulator's own, and no part of the provider that it plays."""
    return any(path == spared or path.startswith(f"{spared}/") for spared in _SPARED)


async def _say_nothing(scope: Scope, receive: Receive, outage: Outage, mode: str) -> None:
    """Never answer: a request that was taken in the outage is lost when it ends."""
    while mode == "ignore" and outage.ends_at() is not None:
        with suppress(TimeoutError):
            return await asyncio.wait_for(until_disconnected(receive), _LOOK_SECONDS)
    reset(scope)
    await until_disconnected(receive)


async def _send_page(send: Send) -> None:
    body = gateway_page("503 Service Temporarily Unavailable")
    headers = [
        (b"content-type", b"text/html"),
        (b"content-length", str(len(body)).encode()),
        (b"server", GATEWAY.encode()),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
