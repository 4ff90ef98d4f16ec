"""The size in pixels that an input asks for, in each of the ways in which models are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Size = tuple[int, int]

MIN_SIDE: Final = 64
MAX_SIDE: Final = 4096
_NAMED: Final[Mapping[str, Size]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_SHORT_SIDES: Final[Mapping[str, int]] = {
    **{"480p": 480, "720p": 720, "1080p": 1080, "1440p": 1440, "2160p": 2160, "4k": 2160},
    **{"0.5K": 512, "1K": 1024, "2K": 2048, "4K": 4096},
}


def film_size(given: Mapping[str, Any]) -> Size:
    """Width and height of a film: ``resolution`` is its shorter side (720p), 16:9 its shape."""
    return _shaped(given, 720, (16, 9))


def picture_size(given: Mapping[str, Any]) -> Size:
    """Width and height of a picture: named, in numbers, or by resolution and shape."""
    wanted = given.get("image_size")
    if isinstance(wanted, dict):
        return _bounded(wanted.get("width"), wanted.get("height"))
    if wanted is None and ("resolution" in given or "aspect_ratio" in given):
        return _shaped(given, 1024, (1, 1))
    return _NAMED.get(str(wanted), _NAMED["landscape_4_3"])


def _shaped(given: Mapping[str, Any], usual: int, shape: Size) -> Size:
    short = _SHORT_SIDES.get(str(given.get("resolution")), usual)
    match = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", str(given.get("aspect_ratio")))
    wide, high = (int(match[1]), int(match[2])) if match else shape
    unit = short / min(wide, high)
    return _bounded(round(unit * wide), round(unit * high))


def _bounded(width: object, height: object) -> Size:
    """Even, as codecs want them, and neither tiny nor endless."""
    sides = (side if isinstance(side, int) else 512 for side in (width, height))
    wide, high = (min(max(side, MIN_SIDE), MAX_SIDE) // 2 * 2 for side in sides)
    return wide, high
