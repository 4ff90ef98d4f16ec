"""The log as auditors and followers read it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller
from litestar.types import Receive, Send
from litestar.types import Scope as ConnectionScope

from contracts.api.keys import Scope
from contracts.api.log import EventsReply
from contracts.limits import EVENTS_LIMIT_MAX, EVENTS_WAIT_MAX_SECONDS, PAGE_LIMIT_DEFAULT
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import Position, Query
from ledger_service.store.reads import STRETCH_MAX, LogRow

NDJSON: Final = b"application/x-ndjson"
_ENCODER: Final = msgspec.json.Encoder()


class EventsQuery(Query, frozen=True, kw_only=True):
    """`wait_seconds`: when nothing is there yet, wait this long for something to come."""

    after: Position = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT
    wait_seconds: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_WAIT_MAX_SECONDS)] = 0


CHUNK_POSITIONS: Final = 100
"""What a stream reads and sends at a time. Then it rests for as long as that took: whoever spends
meanwhile comes first."""


class _Bearing(msgspec.Struct):
    """The part of an event's JSON that says which key it bears."""

    class Command(msgspec.Struct):
        """An answer, as far as it matters here."""

        key: str

    command: Command | None = None


_BEARING: Final = msgspec.json.Decoder(_Bearing)


class LogController(Controller):
    """`/v1/events`."""

    path = "/v1/events"
    tags = ("Log",)

    @get(
        scope=Scope.AUDIT,
        reply=EventsReply,
        summary="Follow the log",
        media_types=("application/json", "application/x-ndjson"),
    )
    async def list_events(self, call: Call, query: EventsQuery) -> HttpReply:
        """The tenant's events, oldest first, without a gap.

        Go on with `after=next_after`, also when `items` is empty: one request looks at a bounded
        stretch of the log. You have everything when `next_after >= head`; `wait_seconds` then
        waits for more. With `Accept: application/x-ndjson` all events up to now come as one
        stream, a line each.
        """
        if any(NDJSON in accepted for accepted in call.headers.every(b"accept")):
            return _NdjsonReply(call, query.after)
        head = await call.services.log_head.read()
        if query.after >= head and query.wait_seconds:
            draining = call.services.draining
            await call.services.log_head.reaches(query.after + 1, query.wait_seconds, draining)
            head = await call.services.log_head.read()
        upto = min(query.after + STRETCH_MAX, head)
        rows = await call.services.reads.log_stretch(call.tenant, query.after, upto, query.limit)
        next_after = rows[-1].position if len(rows) == query.limit else max(upto, query.after)
        reply = {"items": [_event(row) for row in rows], "next_after": next_after, "head": head}
        return json_reply(reply)


class _NdjsonReply(HttpReply):
    """Events up to the head at the start, a line each, as they are read."""

    __slots__ = ("_after", "_call")

    def __init__(self, call: Call, after: int) -> None:
        super().__init__(b"", 200, NDJSON)
        self.headers = [(b"content-type", NDJSON)]  # nobody knows its length yet
        self._call = call
        self._after = after

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Send it. A failure on the way breaks the connection off: the last line is missing."""
        head = await self._call.services.log_head.read()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        async for chunk in self._chunks(head):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self, head: int) -> AsyncIterator[bytes]:
        reads, tenant = self._call.services.reads, self._call.tenant
        for after in range(self._after, head, CHUNK_POSITIONS):
            if self._call.services.draining.is_set():
                raise ConnectionAbortedError("the process is ending")
            started = time.monotonic()
            upto = min(after + CHUNK_POSITIONS, head)
            rows = await reads.log_stretch(tenant, after, upto, CHUNK_POSITIONS)
            if rows:
                yield _ENCODER.encode_lines([_event(row) for row in rows])
            await asyncio.sleep(time.monotonic() - started)


def _event(row: LogRow) -> dict[str, Any]:
    command = _BEARING.decode(row.state).command
    return {
        "log": row.log,
        "position": row.position,
        "stream": row.stream,
        "version": row.version,
        "topic": row.topic,
        "recorded_at": row.recorded_at,
        "actor": row.actor,
        "data": msgspec.Raw(row.state),
        "idempotency_key": command.key if command else None,
        "last_of_command": row.last_of_command,
    }
