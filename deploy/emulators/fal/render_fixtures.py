"""Render the sample media once: ``python -m deploy.emulators.fal.render_fixtures``.

Needs PyAV, which nothing else here needs unless it is told to render: the small files it writes are
committed.
"""

from __future__ import annotations

from pathlib import Path

from deploy.emulators.fal.rendering import Picture, black, draw, render_image, render_video
from deploy.emulators.fal.sizes import Size

FIXTURES = Path(__file__).parent / "fixtures"
SIZES = {"landscape": (320, 180), "portrait": (180, 320)}
LENGTHS_SECONDS = (4, 6, 8)
FRAMES_PER_SECOND = 12
IMAGE_SIZE = (512, 384)
BLACK_SECONDS = 4


def main() -> None:
    """Render everything and say how large it came out."""
    FIXTURES.mkdir(exist_ok=True)
    films: dict[str, tuple[Size, int, Picture]] = {
        f"{name}-{seconds}s.mp4": (size, seconds, draw)
        for name, size in SIZES.items()
        for seconds in LENGTHS_SECONDS
    }
    films["black.mp4"] = (SIZES["landscape"], BLACK_SECONDS, black)
    for name, (size, seconds, picture) in films.items():
        pace = FRAMES_PER_SECOND
        path = FIXTURES / name
        render_video(path, size, seconds, picture, frames_per_second=pace, preset="veryslow")
    scenes: dict[str, Picture] = {"still": draw, "black": black}
    for name, scene in scenes.items():
        for kind in ("png", "jpeg"):
            (FIXTURES / f"{name}.{kind}").write_bytes(render_image(IMAGE_SIZE, kind, scene))
    for path in sorted(FIXTURES.iterdir()):
        print(f"{path.stat().st_size:>7,} bytes  {path.name}")  # noqa: T201


if __name__ == "__main__":
    main()
