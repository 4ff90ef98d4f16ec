"""Render the sample media once: ``python -m deploy.emulators.fal.render_fixtures``.

Needs PyAV, which nothing else here needs: the small files it writes are committed. Frames are
drawn straight into YUV planes, so no imaging library is needed either: a dusk sky, a sun that
sets over the clip's length, and its reflection.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import VideoFrame

FIXTURES = Path(__file__).parent / "fixtures"
SIZES = {"landscape": (320, 180), "portrait": (180, 320)}
LENGTHS_SECONDS = (4, 6, 8)
FRAMES_PER_SECOND = 12
IMAGE_SIZE = (512, 384)
BLACK_SECONDS = 4

Picture = Callable[[int, int, float], VideoFrame]
"""Draws the frame of some width and height at a progress from 0 to 1."""


def draw(width: int, height: int, progress: float) -> VideoFrame:
    """One frame; `progress` runs from 0 (sun high) to 1 (sun at the horizon)."""
    horizon = height * 2 // 3
    sun = (width / 2, height * 0.15 + (horizon - height * 0.15) * progress, min(width, height) / 9)
    frame = VideoFrame(width, height, "yuv420p")
    luma = [_luma_row(y, width, height, horizon, sun) for y in range(height)]
    red = [_chroma_row(y * 2, width // 2, horizon, 150, sun) for y in range(height // 2)]
    blue = [_chroma_row(y * 2, width // 2, horizon, 118, None) for y in range(height // 2)]
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


def render_video(path: Path, width: int, height: int, seconds: int, picture: Picture) -> None:
    """Write an H.264 MP4 of `picture` with its index in front, so that it plays while it loads."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FRAMES_PER_SECOND)
        stream.options = {"crf": "35", "preset": "veryslow", "g": "96"}
        count = seconds * FRAMES_PER_SECOND
        for number in range(count):
            frame = picture(width, height, number / (count - 1))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def render_image(path: Path, codec: str, pixel_format: str, picture: Picture) -> None:
    """Write one still of `picture`; the raw packet of these codecs is the whole file."""
    encoder: Any = av.CodecContext.create(codec, "w")  # typed as the base of all codecs
    encoder.width, encoder.height = IMAGE_SIZE
    encoder.pix_fmt, encoder.time_base = pixel_format, Fraction(1, 1)
    if codec == "mjpeg":
        encoder.color_range = 2
    still = picture(*IMAGE_SIZE, 0.4).reformat(format=pixel_format)
    still.pts = 0
    packets = [*encoder.encode(still), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


def main() -> None:
    """Render everything and say how large it came out."""
    FIXTURES.mkdir(exist_ok=True)
    for name, (width, height) in SIZES.items():
        for seconds in LENGTHS_SECONDS:
            render_video(FIXTURES / f"{name}-{seconds}s.mp4", width, height, seconds, draw)
    render_video(FIXTURES / "black.mp4", *SIZES["landscape"], BLACK_SECONDS, black)
    for kind, scene in {"still": draw, "black": black}.items():
        render_image(FIXTURES / f"{kind}.png", "png", "rgb24", scene)
        render_image(FIXTURES / f"{kind}.jpeg", "mjpeg", "yuvj420p", scene)
    for path in sorted(FIXTURES.iterdir()):
        print(f"{path.stat().st_size:>7,} bytes  {path.name}")  # noqa: T201


if __name__ == "__main__":
    main()
