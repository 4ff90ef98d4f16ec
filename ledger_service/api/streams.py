"""An account's balance, and how far its generations are, as a stream of server-sent events."""

import re
from typing import Final, NamedTuple

import msgspec
from litestar import Controller
from litestar.types import Send

from contracts.api.accounts import Account
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.event_stream import EventStream, last_event_id, send_event
from ledger_service.api.generation_shapes import shown_generation
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.query import Query
from ledger_service.api.shapes import account_of
from ledger_service.errors import Rejected

_ENCODER: Final = msgspec.json.Encoder()
_KNOWN: Final = re.compile(rb"(\d{1,18})-(\d{1,18})")


class StreamQuery(Query, frozen=True, kw_only=True):
    """`generations`: tell of the account's generations as well."""

    generations: bool = False


class StreamsController(Controller):
    """`/v1/accounts/{account_id}/stream`."""

    path = "/v1/accounts/{account_id:str}"
    tags = ("Accounts",)

    @get(
        "/stream",
        scope=Scope.READ,
        reply=Account,
        translated=True,
        summary="Watch an account",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
        media_types=("text/event-stream",),
    )
    async def stream_account(self, call: Call, account_id: str, query: StreamQuery) -> HttpReply:
        """Server-sent events: the account as it is now, and again whenever it has changed.

        Each event is named `account`, its data is the account, its id the account's version.
        Changes in quick succession come as one event with the newest state. With `Last-Event-ID`
        (browsers send it when they come again) the first event follows once there is something
        newer. A comment every 15 s keeps the connection alive; the stream ends when the key does.

        With `generations=true` there are events named `generation` between them, each with one
        generation: at first those under way, then any of the account's hundred newest whenever it
        has changed. Ids of such a stream are made of two numbers, and resume both.
        """
        owner = call.owner(account_id)
        known = _known(call, query)
        if await call.services.reads.account(owner) is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        return _AccountStream(call, owner, known, with_generations=query.generations)


class _Known(NamedTuple):
    """What the client has heard of: the account up to a version, and its generations up to a
    position of the log, or nothing yet of them."""

    version: int
    position: int | None = None


def _known(call: Call, query: StreamQuery) -> _Known:
    if query.generations and (text := call.headers.get(b"last-event-id")):
        match = _KNOWN.fullmatch(text)
        if match is None:
            raise fault("Last-Event-ID", "must be the id of an event of this stream")
        return _Known(int(match[1]), int(match[2]))
    return _Known(last_event_id(call))


class _AccountStream(EventStream):
    """The newest state of an account and, if wanted, of its generations."""

    __slots__ = ("_known", "_with_generations")

    def __init__(self, call: Call, owner: str, known: _Known, *, with_generations: bool) -> None:
        super().__init__(call, owner)
        self._known = known
        self._with_generations = with_generations

    async def tell(self, send: Send) -> bool:
        """Send what is newer than what the client knows."""
        if self._with_generations:
            await self._tell_generations(send)
        view = await self.insisting(lambda: self._call.services.reads.account(self._owner))
        if view is not None and view.state.version > self._known.version:
            account = _ENCODER.encode(account_of(view.state, view.position, view.now))
            self._known = self._known._replace(version=view.state.version)
            await send_event(send, b"account", account, self._id)
        return True

    async def _tell_generations(self, send: Send) -> None:
        reads, after = self._call.services.generations.reads, self._known.position
        views, upto = await self.insisting(lambda: reads.changed(self._owner, after))
        for number, view in enumerate(views, 1):
            shown = _ENCODER.encode(await shown_generation(self._call, view))
            if number == len(views):
                self._known = self._known._replace(position=upto)
            # Before the last one a client that comes again must hear of all of them once more.
            await send_event(send, b"generation", shown, self._id)
        self._known = self._known._replace(position=upto)

    @property
    def _id(self) -> str | None:
        version, position = self._known
        if not self._with_generations:
            return str(version)
        return None if position is None else f"{version}-{position}"
