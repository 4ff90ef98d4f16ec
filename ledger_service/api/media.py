"""Stored files in a local folder, for whoever holds a link that the ledger signed."""

import asyncio
import re
from contextlib import suppress
from typing import Annotated, Final

import msgspec
from litestar import Controller
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from contracts.media import MEDIA_TYPES, type_of_name
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, until_gone
from ledger_service.api.query import Query
from ledger_service.media.library import StoredFile

_RANGE: Final = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})")
_UNKNOWN: Final = b"application/octet-stream"


class MediaQuery(Query, frozen=True, kw_only=True):
    """The link's own proof."""

    expires: Annotated[int, msgspec.Meta(ge=0, le=2**40)]
    signature: Annotated[str, msgspec.Meta(max_length=128)]


class MediaController(Controller):
    """`/v1/media`."""

    path = "/v1/media"
    tags = ("Generations",)

    @get(
        "/{folder:str}/{name:str}",
        scope=None,
        reply=bytes,
        has_head=True,
        summary="Fetch a stored file",
        problems=(ProblemCode.NOT_FOUND, ProblemCode.RANGE_NOT_SATISFIABLE),
        media_types=tuple(known.content_type for known in MEDIA_TYPES),
    )
    async def read_media(self, call: Call, folder: str, name: str, query: MediaQuery) -> HttpReply:
        """What is behind the `url` of a result or an upload, or a `thumbnail_url`: whole, or the
        part that a Range header asks for."""
        # If-Range names a version, and none was ever told: so it is another one, and wanted whole.
        is_conditional = call.headers.any(b"if-range") is not None
        wanted = None if is_conditional else _range_of(call.headers.get(b"range"))
        stored = await call.services.generations.library.open(
            f"{folder}/{name}", query.expires, query.signature, wanted
        )
        return FileReply(stored, name)


class FileReply(HttpReply):
    """Sends a stored file piece by piece, under the name that it has in the storage."""

    __slots__ = ("_stored",)

    def __init__(self, stored: StoredFile, name: str) -> None:
        media_type = type_of_name(name)
        super().__init__(b"", 206 if stored.is_part else 200)
        self._stored = stored
        self.headers = [
            (b"content-type", media_type.content_type.encode() if media_type else _UNKNOWN),
            (b"content-length", b"%d" % (stored.end - stored.start)),
            (b"content-disposition", b'inline; filename="%s"' % name.encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"private, max-age=3600"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if stored.is_part:
            bounds = (stored.start, stored.end - 1, stored.size_bytes)
            self.headers.append((b"content-range", b"bytes %d-%d/%d" % bounds))

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send it; a client that goes away ends the reading."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        leaving = asyncio.ensure_future(until_gone(receive))
        try:
            # An answer that is cut short is not ended: its reader sees that bytes are missing.
            if scope.get("method") == "HEAD" or await self._send_pieces(send, leaving):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()

    async def _send_pieces(self, send: Send, leaving: asyncio.Future[None]) -> bool:
        """Whether all of it was sent: it may be removed meanwhile, and its reader may be gone."""
        with suppress(FileNotFoundError):
            async for piece in self._stored.pieces:
                if leaving.done():
                    return False
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            return True
        return False


def _range_of(header: bytes | None) -> tuple[int | None, int | None] | None:
    """First and last byte; None for no Range, or one that we do not serve."""
    found = _RANGE.fullmatch(header or b"")
    if found is None or found[1] == found[2] == b"":
        return None
    first, last = (int(part) if part else None for part in found.groups())
    if first is not None and last is not None and last < first:
        return None
    return first, last
