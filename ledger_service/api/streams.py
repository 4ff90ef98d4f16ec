"""An account's balance as a stream of server-sent events."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import Controller
from litestar.types import Send

from contracts.api.accounts import Account
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.event_stream import EventStream, last_event_id, send_event
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.shapes import account_of
from ledger_service.errors import Rejected

_ENCODER: Final = msgspec.json.Encoder()


class StreamsController(Controller):
    """`/v1/accounts/{account_id}/stream`."""

    path = "/v1/accounts/{account_id:str}"
    tags = ("Accounts",)

    @get(
        "/stream",
        scope=Scope.READ,
        reply=Account,
        summary="Watch an account",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
        media_types=("text/event-stream",),
    )
    async def stream_account(self, call: Call, account_id: str) -> HttpReply:
        """Server-sent events: the account as it is now, and again whenever it has changed.

        Each event is named `account`, its data is the account, its id the account's version.
        Changes in quick succession come as one event with the newest state. With `Last-Event-ID`
        (browsers send it when they come again) the first event follows once there is something
        newer. A comment every 15 s keeps the connection alive; the stream ends when the key does.
        """
        owner = call.owner(account_id)
        sent = last_event_id(call)
        view = await call.services.reads.account(owner)
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        return _AccountStream(call, owner, sent)


class _AccountStream(EventStream):
    """The newest state of an account."""

    __slots__ = ("_sent",)

    def __init__(self, call: Call, owner: str, sent: int) -> None:
        super().__init__(call, owner)
        self._sent = sent  # the newest version that the client knows

    async def tell(self, send: Send) -> bool:
        """Send the account if it is newer than what the client knows."""
        view = await self.insisting(lambda: self._call.services.reads.account(self._owner))
        if view is not None and view.state.version > self._sent:
            account = _ENCODER.encode(account_of(view.state, view.position, view.now))
            self._sent = view.state.version
            await send_event(send, b"account", account, self._sent)
        return True
