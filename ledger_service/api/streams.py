"""An account's balance as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any, Final

import msgspec
from litestar import Controller
from litestar.types import Receive, Send
from litestar.types import Scope as ConnectionScope

from contracts.api.accounts import Account
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.shapes import account_of
from ledger_service.errors import Rejected, Unavailable
from ledger_service.store.head_reader import AccountView

HEARTBEAT_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 2_000
"""What a client that lost the connection should wait before it comes again."""
EVENT_STREAM: Final = b"text/event-stream"
_RETRY_SECONDS: Final = 1.0
_VERSION: Final = re.compile(rb"\d{1,18}")
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
        sent = _last_version(call)
        view = await call.services.reads.account(owner)
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        return _Stream(call, owner, sent)


def _last_version(call: Call) -> int:
    text = call.headers.get(b"last-event-id")
    if not text:
        return 0
    if not _VERSION.fullmatch(text):
        raise fault("Last-Event-ID", "must be the id of an event of this stream")
    return int(text)


class _Stream(HttpReply):
    """Goes on until the client, the key or the process ends."""

    __slots__ = ("_call", "_owner", "_sent")

    def __init__(self, call: Call, owner: str, sent: int) -> None:
        super().__init__(b"", 200, EVENT_STREAM)
        self.headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-store")]
        self._call = call
        self._owner = owner
        self._sent = sent  # the newest version that the client knows

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Send the head, then follow the account beside a watch on the client."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await _body(send, b"retry: %d\n\n" % RETRY_MILLISECONDS)
        following = asyncio.ensure_future(self._follow(send))
        leaving = asyncio.ensure_future(_left(receive))
        draining = asyncio.ensure_future(self._call.services.draining.wait())
        parts: list[asyncio.Future[Any]] = [following, leaving, draining]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in parts:
            part.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, send: Send) -> None:
        with self._call.services.follower.watch(self._owner) as changed:
            while True:
                changed.clear()
                await self._tell(send)
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    if not await self._is_welcome():
                        return
                    await _body(send, b": alive\n\n")

    async def _tell(self, send: Send) -> None:
        """Send the account if it is newer than what the client knows."""
        view = await self._view()
        if view is None or view.state.version <= self._sent:
            return
        account = _ENCODER.encode(account_of(view.state, view.position, view.now))
        self._sent = view.state.version
        await _body(send, b"id: %d\nevent: account\ndata: %s\n\n" % (self._sent, account))

    async def _view(self) -> AccountView | None:
        """Over an outage of the database: the client need not come again for it."""
        while True:
            try:
                return await self._call.services.reads.account(self._owner)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)

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


async def _body(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _left(receive: Receive) -> None:
    """Until the client has gone."""
    message: Any = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
