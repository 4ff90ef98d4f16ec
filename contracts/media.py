"""Files as both services know them: what kind of media one is, told by its first bytes and never
by a name or a header; and where those lie that are no results."""

from __future__ import annotations

from typing import Final

import msgspec

UPLOADS_FOLDER: Final = "uploads"
"""Of the storage: what callers gave as inputs. Every other folder is a generation's."""
HEAD_BYTES: Final = 64
"""As many of the first bytes of a file as it takes."""


class MediaType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of file: its kind of output, content type and extension."""

    output: str
    content_type: str
    extension: str


MP4: Final = MediaType(output="video", content_type="video/mp4", extension=".mp4")
WEBM: Final = MediaType(output="video", content_type="video/webm", extension=".webm")
PNG: Final = MediaType(output="image", content_type="image/png", extension=".png")
JPEG: Final = MediaType(output="image", content_type="image/jpeg", extension=".jpeg")
WEBP: Final = MediaType(output="image", content_type="image/webp", extension=".webp")
MP3: Final = MediaType(output="audio", content_type="audio/mpeg", extension=".mp3")
WAV: Final = MediaType(output="audio", content_type="audio/wav", extension=".wav")
M4A: Final = MediaType(output="audio", content_type="audio/mp4", extension=".m4a")

MEDIA_TYPES: Final = (MP4, WEBM, PNG, JPEG, WEBP, MP3, WAV, M4A)

_STILL_BRANDS: Final = (b"avi", b"hei", b"hev", b"mif", b"msf")
"""How brands of pictures begin that have the boxes of an MP4, and no film in them."""


def type_of_name(name: str) -> MediaType | None:
    """The type of a file that we named ourselves."""
    return next((known for known in MEDIA_TYPES if name.endswith(known.extension)), None)


def sniff(head: bytes) -> MediaType | None:
    """The type of a file that begins with `head`; None when it is no media that we know."""
    if head[4:8] == b"ftyp":
        return _of_brand(head[8:12])
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:HEAD_BYTES]:
        return WEBM
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"WAVE": WAV}.get(head[8:12])
    if head.startswith(b"ID3") or head[:2] in {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"}:
        return MP3
    return None


def _of_brand(brand: bytes) -> MediaType | None:
    """ISO 14496-12: the major brand says what the boxes hold."""
    if brand == b"qt  " or brand.startswith(_STILL_BRANDS):
        return None
    return M4A if brand == b"M4A " else MP4
