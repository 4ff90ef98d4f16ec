"""Stored assets in a local folder, for whoever holds a link that the ledger signed."""

import re
from typing import Annotated, Final

import msgspec
from litestar import Controller
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.query import Query
from ledger_service.media.library import StoredFile

_RANGE: Final = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})")
_TYPES: Final = {
    "mp4": b"video/mp4",
    "webm": b"video/webm",
    "png": b"image/png",
    "jpg": b"image/jpeg",
    "webp": b"image/webp",
}


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
        summary="Fetch a stored asset",
        problems=(ProblemCode.NOT_FOUND,),
        media_types=("video/mp4", "image/png"),
    )
    async def read_media(self, call: Call, folder: str, name: str, query: MediaQuery) -> HttpReply:
        """The asset behind a `result.url`, whole or the part that a Range header asks for."""
        wanted = _range_of(call.headers.get(b"range"))
        stored = await call.services.generations.library.open(
            f"{folder}/{name}", query.expires, query.signature, wanted
        )
        media_type = _TYPES.get(name.rpartition(".")[2], b"application/octet-stream")
        return FileReply(stored, media_type)


class FileReply(HttpReply):
    """Sends a stored file piece by piece."""

    __slots__ = ("_stored",)

    def __init__(self, stored: StoredFile, media_type: bytes) -> None:
        size = stored.end - stored.start
        is_part = size != stored.size_bytes
        super().__init__(b"", 206 if is_part else 200, media_type)
        self._stored = stored
        self.headers = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % size),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"private, max-age=3600"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if is_part:
            bounds = (stored.start, stored.end - 1, stored.size_bytes)
            self.headers.append((b"content-range", b"bytes %d-%d/%d" % bounds))

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send it; a client that goes away ends the reading."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        async for piece in self._stored.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _range_of(header: bytes | None) -> tuple[int | None, int | None] | None:
    """First and last byte; None for no Range, or one that we do not serve."""
    found = _RANGE.fullmatch(header or b"")
    if found is None or found[1] == found[2] == b"":
        return None
    first, last = (int(part) if part else None for part in found.groups())
    if first is not None and last is not None and last < first:
        return None
    return first, last
