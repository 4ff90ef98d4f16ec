"""Draws and encodes: a dusk sky, a sun that sets over a clip's length, and its reflection.

Needs PyAV. Frames are drawn straight into YUV planes, so no imaging library is needed beside it.
The committed samples come from here, and with ``--render`` everything that jobs make.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import av
from av.video.frame import VideoFrame

from deploy.emulators.fal.sizes import Size

FRAMES_PER_SECOND: Final = 4
_KEPT: Final = 64
Picture = Callable[[int, int, float], VideoFrame]
"""Draws the frame of some width and height at a progress from 0 to 1."""


def draw(width: int, height: int, progress: float, tint: int = 0) -> VideoFrame:
    """One frame; `progress` runs from 0 (sun high) to 1 (sun at the horizon).

    `tint`, from 0 to 7, is the colour of the sky.
    """
    horizon = height * 2 // 3
    sun = (width / 2, height * 0.15 + (horizon - height * 0.15) * progress, min(width, height) / 9)
    frame = VideoFrame(width, height, "yuv420p")
    luma = [_luma_row(y, width, height, horizon, sun) for y in range(height)]
    pairs = range(0, height - 1, 2)
    red = [_chroma_row(y, width // 2, horizon, 150 - 9 * tint, sun) for y in pairs]
    blue = [_chroma_row(y, width // 2, horizon, 118 + 7 * tint, None) for y in pairs]
    for plane, rows in zip(frame.planes, (luma, blue, red), strict=True):
        plane.update(b"".join(row.ljust(plane.line_size, b"\0") for row in rows))
    return frame


def black(width: int, height: int, _: float) -> VideoFrame:
    """What a model delivers in place of a picture that its safety checker holds back."""
    frame = VideoFrame(width, height, "yuv420p")
    for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return frame


def _luma_row(
    y: int, width: int, height: int, horizon: int, sun: tuple[float, float, float]
) -> bytes:
    row = bytearray([60 + 90 * y // horizon if y < horizon else 70 - 30 * y // height] * width)
    half = _half_chord(y if y < horizon else 2 * horizon - y, sun)
    if half:
        left, right = int(sun[0] - half), int(sun[0] + half)
        row[left:right] = bytes([225 if y < horizon else 105]) * (right - left)
    return bytes(row)


def _chroma_row(
    y: int, width: int, horizon: int, base: int, sun: tuple[float, float, float] | None
) -> bytes:
    row = bytearray([base if y < horizon else 128] * width)
    half = _half_chord(y, sun) if sun and y < horizon else 0
    if sun and half:
        left, right = int((sun[0] - half) / 2), int((sun[0] + half) / 2)
        row[left:right] = bytes([165]) * (right - left)
    return bytes(row)


def _half_chord(y: float, sun: tuple[float, float, float]) -> int:
    distance = abs(y - sun[1])
    return int((sun[2] ** 2 - distance**2) ** 0.5) if distance < sun[2] else 0


def render_video(
    path: Path,
    size: Size,
    seconds: int,
    picture: Picture,
    *,
    frames_per_second: int,
    preset: str,
) -> None:
    """Write an H.264 MP4 of `picture` with its index in front, so that it plays while it loads."""
    width, height = size
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=frames_per_second)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, frames_per_second)
        stream.options = {"crf": "35", "preset": preset, "g": "96"}
        count = seconds * frames_per_second
        for number in range(count):
            frame = picture(width, height, number / (count - 1))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def render_image(size: Size, kind: str, picture: Picture) -> bytes:
    """One still of `picture`, as ``png`` or ``jpeg``: a packet of these codecs is a whole file."""
    codec, pixel_format = {"png": ("png", "rgb24"), "jpeg": ("mjpeg", "yuvj420p")}[kind]
    encoder: Any = av.CodecContext.create(codec, "w")  # typed as the base of all codecs
    encoder.width, encoder.height = size
    encoder.pix_fmt, encoder.time_base = pixel_format, Fraction(1, 1)
    if codec == "mjpeg":
        encoder.color_range = 2
    still = picture(*size, 0.4).reformat(format=pixel_format)
    still.pts = 0
    packets = [*encoder.encode(still), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


@lru_cache(maxsize=_KEPT)
def film(size: Size, seconds: int, tint: int) -> bytes:
    """An MP4 of this size in pixels and length, quickly made: few frames, each drawn once."""
    picture = black if tint < 0 else partial(draw, tint=tint)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        pace = FRAMES_PER_SECOND
        render_video(path, size, seconds, picture, frames_per_second=pace, preset="ultrafast")
        return path.read_bytes()


@lru_cache(maxsize=_KEPT)
def still(size: Size, kind: str, tint: int) -> bytes:
    """A picture of this size, as ``png`` or ``jpeg``; a tint below 0 is black."""
    return render_image(size, kind, black if tint < 0 else partial(draw, tint=tint))
