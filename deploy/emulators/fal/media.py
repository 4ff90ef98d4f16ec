"""The files a job produced: a rendered sample, made unique by the job's request id.

An MP4 gets a top-level ``free`` box, a PNG a ``tEXt`` chunk, a JPEG a comment segment. Players
skip all three, so every file plays, and no two jobs have the same bytes.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from deploy.emulators.fal import models
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.sizes import film_size, picture_size

_FIXTURES = Path(__file__).parent / "fixtures"
_FRAMES_PER_SECOND = 12
_LENGTHS_SECONDS = (4, 6, 8)
_BLACK_SECONDS = 4
_SAMPLE_SIZE = (512, 384)
_TINTS = 8
_DRAWN_SECONDS_MAX = 16
"""Of a longer film the last picture stays."""


class MediaFile(msgspec.Struct, frozen=True, kw_only=True):
    """One generated file; sizes in pixels, bytes and seconds are those of the real file."""

    name: str
    content: bytes
    content_type: str
    width: int
    height: int
    duration_seconds: int | None = None
    frames_per_second: int = _FRAMES_PER_SECOND

    def description(self) -> dict[str, Any]:
        """The file as a model's result describes it, URL aside."""
        described: dict[str, Any] = {
            "content_type": self.content_type,
            "file_name": self.name,
            "file_size": len(self.content),
            "width": self.width,
            "height": self.height,
        }
        if self.duration_seconds is not None:
            described |= {
                "duration": float(self.duration_seconds),
                "fps": float(self.frames_per_second),
                "num_frames": self.duration_seconds * self.frames_per_second,
            }
        return described


def files(job: Job) -> list[MediaFile]:
    """Everything a successful job produced, in order; empty where ``no-asset`` was asked for."""
    if "no-asset" in job.directives:
        return []
    if models.model_of(job.endpoint).output == "video":
        return [_video(job)]
    return [_image(job, number) for number in range(models.image_count(job.input))]


def _video(job: Job) -> MediaFile:
    if job.is_rendered:
        return _rendered_video(job)
    if "nsfw" in job.directives:
        return _black_video(job)
    portrait = job.input.get("aspect_ratio") == "9:16"
    wanted = models.video_seconds(job.endpoint, job.input)
    shown = min(_LENGTHS_SECONDS, key=lambda length: (length < wanted, abs(length - wanted)))
    played = wanted
    if "media-wrong-length" in job.directives:
        shown = played = max(_LENGTHS_SECONDS, key=lambda length: abs(length - wanted))
    sample = _sample(f"{'portrait' if portrait else 'landscape'}-{shown}s.mp4")
    return MediaFile(
        name="output.mp4",
        content=_lasting(sample, played) + _free_box(job.request_id.encode()),
        content_type="video/mp4",
        width=180 if portrait else 320,
        height=320 if portrait else 180,
        duration_seconds=wanted,
    )


def _rendered_video(job: Job) -> MediaFile:
    from deploy.emulators.fal import rendering  # PyAV is there, or nobody asked for this

    size = film_size(job.input)
    wanted = played = models.video_seconds(job.endpoint, job.input)
    if "media-wrong-length" in job.directives:
        played = max(_LENGTHS_SECONDS, key=lambda length: abs(length - wanted))
    film = rendering.film(size, min(played, _DRAWN_SECONDS_MAX), _tint(job))
    return MediaFile(
        name="output.mp4",
        content=_lasting(film, played) + _free_box(job.request_id.encode()),
        content_type="video/mp4",
        width=size[0],
        height=size[1],
        duration_seconds=wanted,
        frames_per_second=rendering.FRAMES_PER_SECOND,
    )


def _tint(job: Job) -> int:
    """The colour of a job's sky, by its prompt; -1 is black."""
    return -1 if "nsfw" in job.directives else sha256(job.prompt.encode()).digest()[0] % _TINTS


def _lasting(sample: bytes, seconds: int) -> bytes:
    """The film with this length in its head: it stops early, or its last picture stays."""
    content = sample.index(b"mvhd") + len(b"mvhd")
    assert sample[content] == 0, "the fixtures have heads of version 0"
    (timescale,) = struct.unpack_from(">I", sample, content + 12)
    head = struct.pack(">I", timescale * seconds)
    return sample[: content + 16] + head + sample[content + 20 :]


def _black_video(job: Job) -> MediaFile:
    return MediaFile(
        name="output.mp4",
        content=_sample("black.mp4") + _free_box(job.request_id.encode()),
        content_type="video/mp4",
        width=320,
        height=180,
        duration_seconds=_BLACK_SECONDS,
    )


def _image(job: Job, number: int) -> MediaFile:
    mark = f"{job.request_id}/{number}".encode()
    png = job.input.get("output_format") == "png"
    kind = "png" if png else "jpeg"
    size = _SAMPLE_SIZE
    if job.is_rendered:
        from deploy.emulators.fal import rendering  # PyAV is there, or nobody asked for this

        size = picture_size(job.input)
        sample = rendering.still(size, kind, _tint(job))
    else:
        sample = _sample(f"{'black' if 'nsfw' in job.directives else 'still'}.{kind}")
    return MediaFile(
        name=f"{number}.{kind}",
        content=_with_png_text(sample, mark) if png else _with_jpeg_comment(sample, mark),
        content_type=f"image/{kind}",
        width=size[0],
        height=size[1],
    )


@cache
def _sample(name: str) -> bytes:
    return (_FIXTURES / name).read_bytes()


def _free_box(mark: bytes) -> bytes:
    """ISO/IEC 14496-12, 8.1.2: size (the eight bytes of the head included), type, anything."""
    return struct.pack(">I4s", 8 + len(mark), b"free") + mark


def _with_png_text(png: bytes, mark: bytes) -> bytes:
    """PNG, 11.3.3.2: a tEXt chunk, keyword NUL text, right before the closing IEND chunk."""
    data = b"tEXt" + b"Comment\0" + mark
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    assert png[-8:-4] == b"IEND", "IEND is the last chunk: 12 bytes"
    return png[:-12] + chunk + png[-12:]


def _with_jpeg_comment(jpeg: bytes, mark: bytes) -> bytes:
    """ITU-T T.81, B.2.4.5: a COM segment, here right behind the start of the image."""
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(mark)) + mark + jpeg[2:]
