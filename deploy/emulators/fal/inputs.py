"""Files that an input names: where they are, and whether what lies there can be used.

A file is told by its first bytes, and an image by its size in pixels and by its end: nothing is
decoded. What is wrong is worded as fal's models word it: see `errors.py`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from deploy.emulators.fal.errors import CATALOGUE, detail_item

MAX_INPUT_BYTES: Final = 20 * 1024**2
MIN_SIDE_PIXELS: Final = 64
MAX_SIDE_PIXELS: Final = 16_384
_DEPTH_MAX: Final = 6
_DATA: Final = re.compile(r"data:[^,;]*(?:;[^,;]*)*?(;base64)?,(.*)", re.DOTALL | re.IGNORECASE)
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Fetching = Literal["none", "local", "all"]
"""Which files are looked at: none; those in the input itself and on this machine; all."""
Kind = Literal["image", "video", "audio", "file"]
_WORDS: Final[Mapping[str, Kind]] = {
    "image": "image", "mask": "image", "video": "video", "audio": "audio"
}  # fmt: skip
_SUPPORTED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "image": ("png", "jpeg", "gif", "webp", "avif"),
    "video": ("mp4", "webm", "gif"),
    "audio": ("mp3", "wav", "ogg", "flac", "mp4"),
}
_SIGNATURES: Final = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (4, b"ftypavif", "avif"),
    (4, b"ftyphei", "heif"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (0, b"ID3", "mp3"),
    (0, b"\xff\xfb", "mp3"),
    (8, b"WAVE", "wav"),
    (0, b"OggS", "ogg"),
    (0, b"fLaC", "flac"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"%PDF", "pdf"),
    (0, b"<svg", "svg"),
)


class Fault(Exception):
    """Why a file cannot be used: one of fal's error types, and what goes with it."""

    def __init__(self, error_type: str, **context: Any) -> None:
        super().__init__(error_type)
        self.error_type = error_type
        self.context = context


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an input names by its address."""

    loc: list[str | int]
    address: str
    kind: Kind

    @property
    def is_inline(self) -> bool:
        """The address is the file itself."""
        return self.address[:5].lower() == "data:"

    @property
    def is_local(self) -> bool:
        """The address is one of this machine's own."""
        try:
            host = urlsplit(self.address).hostname or ""
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def described(self, fault: Fault) -> dict[str, Any]:
        """An entry of a model error's ``detail``."""
        message = CATALOGUE[fault.error_type].message
        item = detail_item(self.loc, message, fault.error_type, self.address[:200])
        return item | ({"ctx": fault.context} if fault.context else {})


def named_files(given: Any) -> Iterator[Named]:
    """Every file that an input names: in ``…_url``, or in a list ``…_urls``, at any depth."""
    yield from _named(given, ["body"], _DEPTH_MAX)


def _named(value: object, loc: list[str | int], depth: int) -> Iterator[Named]:
    inside = value if isinstance(value, dict) else {}
    if isinstance(value, list):
        inside = dict(enumerate(value))
    for key, inner in inside.items():
        place = [*loc, key]
        name = next(str(part) for part in reversed(place) if isinstance(part, str))
        if isinstance(inner, str) and re.search("_urls?$", name):
            if re.match(r"(https?|data):.", inner, re.IGNORECASE):
                yield Named(loc=place, address=inner, kind=_kind(name))
        elif depth:
            yield from _named(inner, place, depth - 1)


def _kind(name: str) -> Kind:
    return next((kind for word, kind in _WORDS.items() if word in name), "file")


def to_fetch(given: Any, fetching: Fetching) -> list[Named]:
    """The files of an input that have to be called for."""
    outside = [named for named in named_files(given) if not named.is_inline]
    if fetching == "all":
        return outside
    return [named for named in outside if named.is_local] if fetching == "local" else []


def inline_faults(given: Any) -> list[dict[str, Any]]:
    """What is wrong with the files that an input holds itself, as a ``detail`` list."""
    found = []
    for named in named_files(given):
        if named.is_inline:
            try:
                examine(_decoded(named.address, named.kind), named.kind)
            except Fault as fault:
                found.append(named.described(fault))
    return found


def _decoded(address: str, kind: Kind) -> bytes:
    """A data URI's content (RFC 2397)."""
    match = _DATA.fullmatch(address)
    try:
        if match is None:
            raise ValueError(address)
        raw = unquote_to_bytes(match[2])
        return base64.b64decode(raw, validate=True) if match[1] else raw
    except (ValueError, binascii.Error):
        raise Fault("image_load_error" if kind == "image" else "file_download_error") from None


def examine(content: bytes, kind: Kind) -> None:
    """Look at a whole file; a `Fault` when a model could not use it."""
    if len(content) > MAX_INPUT_BYTES:
        raise Fault("file_too_large", max_size=MAX_INPUT_BYTES)
    if kind == "file":
        return
    found = next((word for at, sign, word in _SIGNATURES if content[at:].startswith(sign)), None)
    if found is None and kind == "image":
        raise Fault("image_load_error")
    if found not in _SUPPORTED[kind]:
        raise Fault(f"unsupported_{kind}_format", supported_formats=list(_SUPPORTED[kind]))
    if kind == "image":
        _examine_image(content, found)


def _examine_image(content: bytes, form: str) -> None:
    try:
        size = _SIZES[form](content) if form in _SIZES else None
    except (struct.error, IndexError):
        size = (0, 0)
    whole = {"png": b"IEND", "jpeg": b"\xff\xd9"}.get(form, b"") in content[-4096:]
    if size == (0, 0) or not whole:
        raise Fault("image_load_error")
    if size and min(size) < MIN_SIDE_PIXELS:
        raise Fault("image_too_small", min_width=MIN_SIDE_PIXELS, min_height=MIN_SIDE_PIXELS)
    if size and max(size) > MAX_SIDE_PIXELS:
        raise Fault("image_too_large", max_width=MAX_SIDE_PIXELS, max_height=MAX_SIDE_PIXELS)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """ITU-T T.81, B.2.2: the first frame header has lines and samples."""
    at = 2
    while content[at] == 0xFF:
        marker, length = struct.unpack_from(">BH", content, at + 1)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 2 + length
    return 0, 0


def _webp_size(content: bytes) -> tuple[int, int] | None:
    """RFC 9649: the canvas of the extended, or the frame of the plain format."""
    kind = content[12:16]
    if kind == b"VP8X":
        wide, high = (int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        return wide + 1, high + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", content, 21)
    return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1


def _png_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def _gif_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", content, 6)
    return width, height


_SIZES: Final = {"png": _png_size, "gif": _gif_size, "jpeg": _jpeg_size, "webp": _webp_size}
"""Width and height in pixels, by format; (0, 0) where there is no telling."""
