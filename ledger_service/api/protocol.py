"""HTTP/1.1 below the application: uvicorn's own protocol, with limits for the head of a request.

A head that is endless, or that never ends, costs neither memory nor a connection; what is no
HTTP at all gets a problem document like everything else.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from contracts.problems import FieldError, ProblemCode
from ledger_service.api.gate import Gate
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.problem_details import RETRY_AFTER_SECONDS, problem_reply, unavailable

HEAD_MAX_BYTES: Final = 32 * 1024
HEAD_WAIT_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0


class JoinedWrites:
    """A transport that sends a response's head together with what follows it.

    uvicorn writes head and body apart: two system calls and two packets for every answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or hold a response's head until the first of its body is here."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held: no body comes after the head that answers a HEAD."""
        if self._held:
            self.write(b"")

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()


class _TurnedAway:
    """Stands for a request that was answered as soon as its head had come."""

    response_complete = True
    message_event = asyncio.Event()


_TURNED_AWAY: Final = _TurnedAway()


class HeadWatch:
    """Closes connections whose head does not end. Silence is not answered.

    One timer for all of them: one for each request would cost more than reading its head.
    """

    def __init__(self) -> None:
        self._since: dict[HttpToolsProtocol, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: HttpToolsProtocol, loop: asyncio.AbstractEventLoop) -> None:
        """Its head has begun."""
        self._since[connection] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look, loop)

    def remove(self, connection: HttpToolsProtocol) -> None:
        """Its head has ended, or the connection has."""
        self._since.pop(connection, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        latest = loop.time() - HEAD_WAIT_SECONDS
        for connection in [each for each, since in self._since.items() if since <= latest]:
            self.remove(connection)
            connection.transport.close()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look, loop) if self._since else None


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _is_in_head = True  # a connection that sends nothing at all is in its first head
    _watch = HeadWatch()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a first request."""
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._watch.remove(self)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte has come."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is whole: from here on the body's own limits apply."""
        self._is_in_head = False
        self._watch.remove(self)
        before = cast(RequestResponseCycle | None, self.cycle)
        is_free = before is None or before.response_complete
        gate: Gate = cast(Any, self.app).gate
        if is_free and gate.turns_away(self.parser.get_method(), self.url):
            self._turn_away()
        else:
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A whole answer has been given."""
        cast(JoinedWrites, self.transport).flush()
        super().on_response_complete()

    def _turn_away(self) -> None:
        """Answer without reading on; what follows of the request is passed over."""
        self.cycle = cast(RequestResponseCycle, _TURNED_AWAY)
        instance = self.url.partition(b"?")[0].decode("latin-1")
        reply = unavailable(ProblemCode.UNAVAILABLE, instance, RETRY_AFTER_SECONDS)
        closes = not self.parser.should_keep_alive()
        self._write(b"503 Service Unavailable", reply, closes=closes)
        self.on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Take bytes; too many of them without an end of the head are the end of it."""
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.send_400_response(f"the head is larger than {HEAD_MAX_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request of HTTP/1.1, and close."""
        fault: Any = (FieldError("", msg),)
        reply = problem_reply(ProblemCode.VALIDATION_FAILED, "/", errors=fault)
        self._write(b"400 Bad Request", reply, closes=True)

    def _write(self, status: bytes, reply: HttpReply, *, closes: bool) -> None:
        """An answer that the application does not give."""
        headers = [*self.server_state.default_headers, *reply.headers]
        if closes:
            headers.append((b"connection", b"close"))
        lines = [b"%s: %s" % header for header in headers]
        head = b"\r\n".join([b"HTTP/1.1 " + status, *lines])
        self.transport.write(head + b"\r\n\r\n")
        self.transport.write(reply.body)
        if closes:
            self.transport.close()

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._is_in_head = True
        self._watch.add(self, self.loop)
