"""Media recognised by their bytes: types, sizes, lengths, and damage."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.media import (
    JPEG,
    M4A,
    MEDIA_TYPES,
    MP3,
    MP4,
    PNG,
    WAV,
    WEBM,
    WEBP,
    MediaType,
    sniff,
    type_of_name,
)
from job_worker.measuring import DamagedMedia, Measures, measure

FIXTURES = Path(__file__).parents[2] / "deploy" / "emulators" / "fal" / "fixtures"


def measured(content: bytes) -> Measures:
    """Recognise and measure a whole file."""
    media_type = sniff(content[:64])
    assert media_type is not None
    return measure(io.BytesIO(content), media_type, len(content))


def box(kind: bytes, content: bytes) -> bytes:
    """One MP4 box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mvhd(version: int, timescale: int, duration: int) -> bytes:
    """A movie header."""
    if version == 1:
        return box(b"mvhd", b"\1\0\0\0" + bytes(16) + struct.pack(">IQ", timescale, duration))
    return box(b"mvhd", bytes(4) + bytes(8) + struct.pack(">II", timescale, duration))


def tkhd(version: int, width: int, height: int) -> bytes:
    """A track header."""
    content = bytes([version, 0, 0, 0]) + bytes(84 if version == 1 else 72)
    return box(b"tkhd", content + struct.pack(">II", width << 16, height << 16))


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2")


@pytest.mark.parametrize(
    ("name", "media_type", "measures"),
    [
        ("landscape-4s.mp4", MP4, Measures(duration_seconds=4.0, width=320, height=180)),
        ("portrait-8s.mp4", MP4, Measures(duration_seconds=8.0, width=180, height=320)),
        ("still.png", PNG, Measures(width=512, height=384)),
        ("still.jpeg", JPEG, Measures(width=512, height=384)),
    ],
)
def test_real_files_are_measured(name: str, media_type: MediaType, measures: Measures) -> None:
    """Real files tell their type, length and size."""
    content = (FIXTURES / name).read_bytes()
    assert sniff(content[:64]) == media_type
    assert measured(content) == measures


@pytest.mark.parametrize("version", [0, 1])
def test_both_versions_of_mp4_headers_are_read(version: int) -> None:
    """Long and short headers, an audio track without a size, and a 64-bit box are understood."""
    tracks = box(b"trak", tkhd(version, 0, 0)) + box(b"trak", tkhd(version, 1920, 1080))
    moov = box(b"moov", mvhd(version, 1000, 2500) + tracks)
    mdat = struct.pack(">I4sQ", 1, b"mdat", 16 + 5) + b"x" * 5
    assert measured(FTYP + mdat + moov) == Measures(duration_seconds=2.5, width=1920, height=1080)


def test_a_fragmented_mp4_has_no_length_in_its_header() -> None:
    """A length of 0, or of all ones, means that the header does not know."""
    for duration in (0, 2**32 - 1):
        assert measured(FTYP + box(b"moov", mvhd(0, 1000, duration))).duration_seconds is None


@pytest.mark.parametrize(
    ("content", "width", "height"),
    [
        (b"VP8X" + bytes(8) + b"\x7f\x02\x00\xdf\x01\x00", 640, 480),
        (b"VP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 639 | 479 << 14) + bytes(5), 640, 480),
        (b"VP8 " + bytes(4) + bytes(6) + struct.pack("<HH", 640, 480), 640, 480),
    ],
)
def test_every_kind_of_webp_tells_its_size(content: bytes, width: int, height: int) -> None:
    """Extended, lossless and lossy WebP differ in their headers."""
    file = b"RIFF" + bytes(4) + b"WEBP" + content
    assert sniff(file) == WEBP
    assert measured(file) == Measures(width=width, height=height)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>Not found</body></html>",
        b'{"detail": "no"}',
        b"GIF89a" + bytes(60),
        b"\x1a\x45\xdf\xa3" + b"matroska" + bytes(50),
        b"\0\0\0\x14ftypqt  ",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x18ftypavif",
        b"RIFF\0\0\0\0AVI LIST",
        b"MZ" + bytes(62),
    ],
)
def test_what_is_no_media_is_not_taken_for_any(content: bytes) -> None:
    """Pages, programs and formats that we do not serve are refused."""
    assert sniff(content) is None


def test_webm_is_known_by_its_document_type() -> None:
    """WebM and other Matroska files begin alike."""
    assert sniff(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + bytes(40)) == WEBM


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"ID3\x04\0\0", MP3),
        (b"\xff\xfb\x90\x64", MP3),
        (b"RIFF\0\0\0\0WAVEfmt ", WAV),
        (b"\0\0\0\x1cftypM4A ", M4A),
    ],
)
def test_sounds_are_known_and_are_no_films(head: bytes, media_type: MediaType) -> None:
    """What only sounds has boxes and chunks like films and pictures."""
    assert sniff(head) == media_type
    assert media_type.output == "audio"


def test_a_file_that_we_named_is_of_the_type_that_named_it() -> None:
    """Every type has an extension of its own; others say nothing."""
    for media_type in MEDIA_TYPES:
        assert type_of_name(f"gen_1/att_1{media_type.extension}") == media_type
    assert type_of_name("gen_1/page.html") is None


@pytest.mark.parametrize("name", ["landscape-4s.mp4", "still.png", "still.jpeg"])
def test_a_file_cut_in_its_header_is_damaged(name: str) -> None:
    """A file that ends before its header does is refused, not measured."""
    with pytest.raises(DamagedMedia):
        measured((FIXTURES / name).read_bytes()[:20])


def test_an_mp4_cut_anywhere_is_damaged() -> None:
    """Box sizes say where an MP4 ends: one byte less is noticed."""
    content = (FIXTURES / "landscape-4s.mp4").read_bytes()
    for cut in (1, 100, len(content) // 2):
        with pytest.raises(DamagedMedia):
            measured(content[:-cut])


def test_an_mp4_without_an_index_is_damaged() -> None:
    """Without `moov` nothing can be played."""
    with pytest.raises(DamagedMedia):
        measured(FTYP + box(b"mdat", b"x" * 100))


@given(st.binary(max_size=400), st.sampled_from([MP4, PNG, JPEG, WEBP, WEBM]))
def test_hostile_bytes_are_refused_in_order(content: bytes, media_type: MediaType) -> None:
    """Whatever the bytes, measuring ends with measures or with `DamagedMedia`."""
    with contextlib.suppress(DamagedMedia):
        measure(io.BytesIO(content), media_type, len(content))


@given(st.lists(st.sampled_from([b"moov", b"trak", b"mvhd", b"tkhd", b"free"]), max_size=30))
def test_hostile_boxes_are_refused_in_order(kinds: list[bytes]) -> None:
    """Boxes inside boxes, however deep and short, end with measures or `DamagedMedia`."""
    content = b""
    for kind in kinds:
        content = box(kind, content)
    with contextlib.suppress(DamagedMedia):
        measured(FTYP + content)
