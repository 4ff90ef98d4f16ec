"""Makes one still of a film or picture: the file on stdin, the demuxer's name as argument, a JPEG
on stdout.

A program of its own, run with an empty environment and told to the kernel to stay small: decoders
are large, written in C, and fed by strangers. It imports nothing of ours, so that nothing of ours
is in it.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

WIDTH_MAX_PIXELS: Final = 320
HEIGHT_MAX_PIXELS: Final = 640
SOURCE_MAX_PIXELS: Final = 64_000_000
"""Larger pictures are not decoded."""
SHOWN_AT_SECONDS: Final = 1.0
"""The first frame of a film is often black: what is shown after this, or half of it, is taken."""
FRAMES_MAX: Final = 120
"""Frames that are decoded on the way there."""
MEMORY_MAX_BYTES: Final = 1024**3
CPU_MAX_SECONDS: Final = 10
CODECS: Final = "h264,hevc,vp8,vp9,libdav1d,av1,png,mjpeg,webp"
"""What is decoded at all."""


def bound_resources() -> None:
    """Whatever the file makes the decoder do ends here: in memory and in time, and it writes no
    file."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_MAX_BYTES),
        (resource.RLIMIT_CPU, CPU_MAX_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (most, most))


def make_still(file: Any, demuxer: str) -> bytes:
    """The JPEG; raises whatever the decoder does. The demuxer is named, and opens nothing itself,
    so that no file can pass for a playlist that leads elsewhere."""
    import av

    options = {"codec_whitelist": CODECS, "protocol_whitelist": "none"}
    with av.open(file, format=demuxer, options=options) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(SOURCE_MAX_PIXELS)}
        return _jpeg(av, _frame(container, stream))


def _frame(container: Any, stream: Any) -> Any:
    length = float(stream.duration * stream.time_base) if stream.duration else 0.0
    shown_at = min(SHOWN_AT_SECONDS, length / 2)
    frame = None
    for frame in _some(container.decode(stream)):
        if frame.time is None or frame.time >= shown_at:
            break
    if frame is None:
        raise ValueError("no frame")
    return frame


def _some(frames: Iterator[Any]) -> Iterator[Any]:
    """What can be decoded, in order: a film that breaks off later has begun all the same."""
    for _ in range(FRAMES_MAX):
        try:
            yield next(frames)
        except (StopIteration, OSError, ValueError):
            return


def _jpeg(av: Any, frame: Any) -> bytes:
    scale = min(WIDTH_MAX_PIXELS / frame.width, HEIGHT_MAX_PIXELS / frame.height, 1.0)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    small = frame.reformat(width=width, height=height, format="yuvj420p")
    small.pts = 0
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.options = {"qmin": "2", "qmax": "5"}
    return b"".join(bytes(packet) for packet in (*encoder.encode(small), *encoder.encode(None)))


if __name__ == "__main__":
    bound_resources()
    os.nice(10)  # nobody waits for a still
    sys.stdout.buffer.write(make_still(sys.stdin.buffer, sys.argv[1]))
