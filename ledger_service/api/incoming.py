"""A request's body that is a file: taken in piece by piece, bounded, and never half."""

from __future__ import annotations

import asyncio
from typing import IO, Any, Final

from litestar.types import Receive

from contracts.problems import ProblemCode
from ledger_service.api.body import fault, too_large
from ledger_service.api.headers import Headers
from ledger_service.errors import Rejected

FILE_WAIT_SECONDS: Final = 120.0
"""How long a file may take to arrive: a minute and a half at 6 Mbit/s for the largest."""


class IncomingFile:
    """A file that is on its way. Raises `Rejected` at once for one that says it is too large, or
    is encoded. What it says of its type is nobody's proof."""

    def __init__(
        self, receive: Receive, headers: Headers, size_max: int, media_types: tuple[str, ...]
    ) -> None:
        if headers.get(b"content-encoding") not in {None, b"identity"}:
            raise Rejected(ProblemCode.UNSUPPORTED_MEDIA_TYPE, media_types=media_types)
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > size_max:
            raise too_large(size_max)
        self._receive = receive
        self._size_max = size_max

    async def save(self, file: IO[bytes]) -> None:
        """Write all of it. Raises `Rejected` for one that is empty, too large, late or cut off."""
        try:
            async with asyncio.timeout(FILE_WAIT_SECONDS):
                size = await self._copy(file)
        except TimeoutError:
            raise fault("", f"the file did not arrive within {FILE_WAIT_SECONDS:g} s") from None
        if size == 0:
            raise fault("", "the file is empty")

    async def _copy(self, file: IO[bytes]) -> int:
        size, is_more = 0, True
        while is_more:
            message: Any = await self._receive()
            if message["type"] != "http.request":
                raise fault("", "the file was cut off")
            piece, is_more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > self._size_max:
                raise too_large(self._size_max)
            file.write(piece)
        return size
