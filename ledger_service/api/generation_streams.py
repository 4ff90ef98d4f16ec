"""A generation as a stream of server-sent events, from its request to its end."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Controller
from litestar.types import Send

from contracts.api.generations import Generation
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.event_stream import EventStream, last_event_id, send_event
from ledger_service.api.generation_shapes import own_generation, progress_of, shown_generation
from ledger_service.api.http_reply import HttpReply
from ledger_service.errors import Rejected
from ledger_service.store.generation_reads import ProgressView

LOOK_SECONDS: Final = 2.0
"""Progress is no event of the log, so it is looked for: as often as providers are asked."""
_ENCODER: Final = msgspec.json.Encoder()


class GenerationStreamsController(Controller):
    """`/v1/generations/{generation_id}/events`."""

    path = "/v1/generations/{generation_id:str}"
    tags = ("Generations",)

    @get(
        "/events",
        scope=Scope.READ,
        reply=Generation,
        translated=True,
        summary="Watch a generation",
        problems=(ProblemCode.GENERATION_NOT_FOUND,),
        media_types=("text/event-stream",),
    )
    async def stream_generation(self, call: Call, generation_id: str) -> HttpReply:
        """Server-sent events: the generation as it is now, and again whenever it has changed.

        Those events are named `generation`, their data is the generation, their id its version.
        Between them come events named `progress` with what the provider says: `provider_status`,
        `queue_position`, `logs` (the newest lines of the model, anew each time), `seen_at`. The
        stream ends when the generation has; who comes again then
        with `Last-Event-ID` is answered 204, which tells a browser to stop. A comment every 15 s
        keeps the connection alive.
        """
        sent = last_event_id(call)
        view = await own_generation(call, generation_id)
        if view.state.status.is_final and view.state.version <= sent:
            return HttpReply(b"", 204)
        return _GenerationStream(call, view.state.owner, generation_id, sent)


class _GenerationStream(EventStream):
    """One generation until its end."""

    __slots__ = ("_generation_id", "_seen", "_sent")

    look_seconds = LOOK_SECONDS

    def __init__(self, call: Call, owner: str, generation_id: str, sent: int) -> None:
        super().__init__(call, owner)
        self._generation_id = generation_id
        self._sent = sent  # the newest version that the client knows
        self._seen: ProgressView | None = None

    async def tell(self, send: Send) -> bool:
        """What is new of it; after its end nothing more."""
        try:
            view = await self.insisting(lambda: own_generation(self._call, self._generation_id))
        except Rejected:
            return False  # it was deleted meanwhile
        if view.state.version > self._sent:
            shown = _ENCODER.encode(await shown_generation(self._call, view))
            self._sent = view.state.version
            await send_event(send, b"generation", shown, str(self._sent))
        if view.state.status.is_final:
            return False
        if view.progress is not None and view.progress != self._seen:
            self._seen = view.progress
            await send_event(send, b"progress", _ENCODER.encode(progress_of(view.progress)))
        return True
