"""Length and size of a media file, read from its own bytes.

Pure functions over a binary file. Enough of each format is read to refuse a cut or mislabelled
file, and to tell its size and length; nothing is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Final

import msgspec

from contracts.media import JPEG, MP4, PNG, WEBP, MediaType

BOXES_MAX: Final = 10_000
"""Boxes looked at in one MP4; a real one has a few hundred."""
_CONTAINERS: Final = frozenset({b"moov", b"trak"})
_JPEG_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """Length in seconds and size in pixels, as far as the file tells."""

    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None


class DamagedMedia(Exception):
    """The file ends too early, or is not what its first bytes promise."""


def measure(file: IO[bytes], media_type: MediaType, size_bytes: int) -> Measures:
    """Length and size of a whole file of `size_bytes`; raises `DamagedMedia`."""
    try:
        if media_type is MP4:
            return _measure_mp4(file, size_bytes)
        if media_type is PNG:
            width, height = struct.unpack(">II", _read(file, 16, 8))
            return Measures(width=width, height=height)
        if media_type is JPEG:
            return _measure_jpeg(file)
        if media_type is WEBP:
            return _measure_webp(file)
    except struct.error as error:
        raise DamagedMedia from error
    return Measures()


def _measure_mp4(file: IO[bytes], size_bytes: int) -> Measures:
    """ISO 14496-12: `moov/mvhd` tells the length, the largest `moov/trak/tkhd` the size."""
    duration, width, height, has_index = None, 0, 0, False
    for kind, start in _boxes(file, 0, size_bytes):
        has_index = has_index or kind == b"moov"
        if kind == b"mvhd":
            duration = _mvhd_seconds(file, start)
        elif kind == b"tkhd":
            size = _tkhd_pixels(file, start)
            width, height = max((width, height), size, key=lambda pair: pair[0] * pair[1])
    if not has_index:
        raise DamagedMedia
    return Measures(duration_seconds=duration, width=width or None, height=height or None)


def _boxes(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Every box between two offsets with the offset of its content, and those inside `moov`."""
    pending, seen = [(start, end)], 0
    while pending:
        at, end = pending.pop()
        while at < end:
            seen += 1
            size, kind = struct.unpack(">I4s", _read(file, at, 8))
            content = at + 8
            if size == 1:
                (size,), content = struct.unpack(">Q", _read(file, at + 8, 8)), at + 16
            elif size == 0:
                size = end - at
            if size < content - at or at + size > end or seen > BOXES_MAX:
                raise DamagedMedia
            yield kind, content
            if kind in _CONTAINERS:
                pending.append((content, at + size))
            at += size


def _mvhd_seconds(file: IO[bytes], start: int) -> float | None:
    version = _read(file, start, 1)[0]
    if version == 1:
        timescale, duration = struct.unpack(">IQ", _read(file, start + 20, 12))
        unknown = 2**64 - 1
    else:
        timescale, duration = struct.unpack(">II", _read(file, start + 12, 8))
        unknown = 2**32 - 1
    # A fragmented file says 0 here and leaves the length to its fragments.
    if not timescale or duration in {0, unknown}:
        return None
    return round(float(duration / timescale), 3)


def _tkhd_pixels(file: IO[bytes], start: int) -> tuple[int, int]:
    version = _read(file, start, 1)[0]
    width, height = struct.unpack(">II", _read(file, start + (88 if version == 1 else 76), 8))
    return width >> 16, height >> 16  # 16.16 fixed point


def _measure_jpeg(file: IO[bytes]) -> Measures:
    at = 2
    for _ in range(BOXES_MAX):
        mark, marker = _read(file, at, 2)
        if mark != 0xFF:
            raise DamagedMedia
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", _read(file, at + 5, 4))
            return Measures(width=width, height=height)
        at += 2 if marker in _JPEG_BARE else 2 + int.from_bytes(_read(file, at + 2, 2), "big")
    raise DamagedMedia


def _measure_webp(file: IO[bytes]) -> Measures:
    kind, body = _read(file, 12, 4), _read(file, 20, 10)
    if kind == b"VP8X":
        width = int.from_bytes(body[4:7], "little") + 1
        return Measures(width=width, height=int.from_bytes(body[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return Measures(width=(bits & 0x3FFF) + 1, height=(bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return Measures(width=width & 0x3FFF, height=height & 0x3FFF)
    raise DamagedMedia


def _read(file: IO[bytes], at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if len(data) != count:
        raise DamagedMedia
    return data
