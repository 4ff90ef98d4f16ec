"""Thumbnails: a small still of each film and picture, made by a process of its own with bounds.

A result without one is as good: whatever goes wrong here is logged, and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from contracts.media import JPEG, MP4, PNG, WEBM, WEBP, MediaType

WAIT_SECONDS: Final = 15.0
"""How long a result is held up at most: waiting for room, and the making."""
AT_ONCE_MAX: Final = 2
SIZE_MAX_BYTES: Final = 256 * 1024

_DEMUXERS: Final = {
    MP4: "mov", WEBM: "matroska", PNG: "png_pipe", JPEG: "jpeg_pipe", WEBP: "webp_pipe",
}  # fmt: skip
_PROGRAM: Final = Path(__file__).with_name("thumbnail_process.py")
_END_OF_JPEG: Final = b"\xff\xd9"

log: Final = logging.getLogger(__name__)


class Thumbnailer:
    """Makes stills, a few at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def make(self, file: IO[bytes], media_type: MediaType) -> bytes | None:
        """A JPEG of a whole file that has a descriptor; None when there is none to be had."""
        demuxer = _DEMUXERS.get(media_type)
        if demuxer is None:
            return None
        file.flush()
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._room:
                still = await _run(file.fileno(), demuxer)
        except (OSError, TimeoutError) as error:
            log.warning("no thumbnail: %s", type(error).__name__)
            return None
        if len(still) > SIZE_MAX_BYTES or not still.endswith(_END_OF_JPEG):
            log.warning("no thumbnail: the decoder gave up")
            return None
        return still


async def _run(descriptor: int, demuxer: str) -> bytes:
    """What the program prints, up to one byte more than it may."""
    # Opened anew: a duplicate would share its place in the file with ours, and could write.
    own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_PROGRAM), demuxer),
            stdin=own,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
        )
    finally:
        os.close(own)
    assert process.stdout is not None
    printed = b""
    try:
        while len(printed) <= SIZE_MAX_BYTES and (piece := await process.stdout.read(2**16)):
            printed += piece
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return printed
