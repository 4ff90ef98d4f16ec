"""The models this emulator knows: what they accept, what they return, what they bill.

Any other endpoint accepts every JSON object and returns a video, so that a new model can be tried
before its schema is written down here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from deploy.emulators.fal.errors import detail_item

_TYPE_NAMES: Final = {str: "string", int: "integer", bool: "boolean", list: "list"}
_ADDRESS: Final = re.compile(r"(https?|data):.+", re.DOTALL)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a model. An address must look like one; `inputs.py` knows what lies there."""

    kind: type[str] | type[int] | type[bool] | type[list[Any]] = str
    required: bool = False
    choices: tuple[str | int, ...] = ()
    at_least: int | None = None
    at_most: int | None = None
    or_object: bool = False
    is_address: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: its inputs by name (None: anything goes) and the kind of its output.

    `one_of`: exactly one of these inputs must be there. `extra`: what else its result has.
    """

    fields: Mapping[str, Field] | None
    output: Literal["video", "image"]
    default_seconds: int = 8
    one_of: tuple[str, ...] = ()
    extra: tuple[str, ...] = ("seed",)
    is_deprecated: bool = False


_PROMPT: Final = Field(required=True)
_IMAGE: Final = Field(required=True, is_address=True)
_SEED: Final = Field(kind=int, at_least=0)
_FLAG: Final = Field(kind=bool)


def _one_of(*choices: str | int) -> Field:
    return Field(kind=type(choices[0]), choices=choices)


_VEO: Final = {
    "prompt": _PROMPT,
    "duration": _one_of("4s", "6s", "8s"),
    "resolution": _one_of("720p", "1080p", "4k"),
    "aspect_ratio": _one_of("16:9", "9:16"),
    "generate_audio": _FLAG,
    "negative_prompt": Field(),
    "seed": _SEED,
    "safety_tolerance": _one_of("1", "2", "3", "4", "5", "6"),
    "auto_fix": _FLAG,
}
_VEO_IMAGE: Final = _VEO | {"image_url": _IMAGE, "aspect_ratio": _one_of("auto", "16:9", "9:16")}
_KLING_2: Final = {
    "prompt": _PROMPT,
    "start_image_url": _IMAGE,
    "end_image_url": Field(is_address=True),
    "duration": _one_of("5", "10"),
    "generate_audio": _FLAG,
    "negative_prompt": Field(),
}
_KLING_3: Final = {
    "prompt": Field(),
    "multi_prompt": Field(kind=list),
    "duration": _one_of(*(str(seconds) for seconds in range(3, 16))),
    "generate_audio": _FLAG,
    "negative_prompt": Field(),
    "aspect_ratio": _one_of("16:9", "9:16", "1:1"),
}
_KLING_3_IMAGE: Final = _KLING_3 | {
    "start_image_url": _IMAGE,
    "end_image_url": Field(is_address=True),
}
_LTX: Final = {
    "prompt": _PROMPT,
    "image_url": _IMAGE,
    "duration": _one_of(6, 8, 10),
    "resolution": _one_of("1080p", "1440p", "2160p"),
    "fps": _one_of(24, 25, 48, 50),
    "generate_audio": _FLAG,
}
_WAN: Final = {
    "prompt": _PROMPT,
    "image_url": _IMAGE,
    "duration": _one_of("5", "10"),
    "resolution": _one_of("480p", "720p", "1080p"),
    "negative_prompt": Field(),
    "seed": _SEED,
    "enable_safety_checker": _FLAG,
    "enable_prompt_expansion": _FLAG,
}
_SORA: Final = {
    "prompt": _PROMPT,
    "image_url": _IMAGE,
    "duration": _one_of(4, 8, 12, 16, 20),
    "resolution": _one_of("auto", "720p"),
    "aspect_ratio": _one_of("auto", "16:9", "9:16"),
    "delete_video": _FLAG,
}
_IMAGE_SIZES: Final = (
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9",
)  # fmt: skip
_FLUX: Final = {
    "prompt": _PROMPT,
    "image_size": Field(choices=_IMAGE_SIZES, or_object=True),
    "num_images": Field(kind=int, at_least=1, at_most=4),
    "num_inference_steps": Field(kind=int, at_least=1, at_most=50),
    "seed": _SEED,
    "output_format": _one_of("jpeg", "png"),
    "enable_safety_checker": _FLAG,
}
_BANANA: Final = {
    "prompt": _PROMPT,
    "aspect_ratio": Field(),
    "resolution": _one_of("0.5K", "1K", "2K", "4K"),
    "num_images": Field(kind=int, at_least=1, at_most=4),
    "output_format": _one_of("png", "jpeg", "webp"),
    "seed": _SEED,
}
_SHOTS: Final = ("prompt", "multi_prompt")
_FLUX_EXTRA: Final = ("seed", "has_nsfw_concepts", "timings", "prompt")


def _video(fields: Mapping[str, Field], seconds: int, **more: Any) -> Model:
    return Model(fields=fields, output="video", default_seconds=seconds, **more)


def _kling_3(tier: str) -> dict[str, Model]:
    base = f"fal-ai/kling-video/v3/{tier}"
    return {
        f"{base}/text-to-video": _video(_KLING_3, 5, one_of=_SHOTS),
        f"{base}/image-to-video": _video(_KLING_3_IMAGE, 5, one_of=_SHOTS),
    }


MODELS: Final[Mapping[str, Model]] = {
    **{f"fal-ai/veo3.1{tier}": _video(_VEO, 8) for tier in ("", "/fast", "/lite")},
    **{
        f"fal-ai/veo3.1{tier}/image-to-video": _video(_VEO_IMAGE, 8)
        for tier in ("", "/fast", "/lite")
    },
    "fal-ai/kling-video/v2.6/pro/image-to-video": _video(_KLING_2, 5),
    **_kling_3("standard"),
    **_kling_3("pro"),
    "fal-ai/ltx-2.3/image-to-video": _video(_LTX, 6),
    "fal-ai/wan-25-preview/image-to-video": _video(_WAN, 5, extra=("seed", "actual_prompt")),
    "fal-ai/sora-2/image-to-video": _video(_SORA, 4, extra=("video_id",), is_deprecated=True),
    "fal-ai/flux/schnell": Model(fields=_FLUX, output="image", extra=_FLUX_EXTRA),
    "fal-ai/flux/dev": Model(fields=_FLUX, output="image", extra=_FLUX_EXTRA),
    "fal-ai/nano-banana-2": Model(fields=_BANANA, output="image", extra=("description",)),
}
_ANYTHING: Final = Model(fields=None, output="video", default_seconds=4)


def model_of(endpoint: str) -> Model:
    """The model behind an endpoint such as ``fal-ai/veo3.1/lite``."""
    return MODELS.get(endpoint, _ANYTHING)


def violations(endpoint: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with an input, as a model error's ``detail`` list; empty when it is fine.

    Unknown inputs are ignored, as fal's models ignore them.
    """
    model = model_of(endpoint)
    found = [
        item for name, field in (model.fields or {}).items() for item in _check(name, field, given)
    ]
    if model.one_of and len([name for name in model.one_of if given.get(name)]) != 1:
        expected = " or ".join(model.one_of)
        found.append(detail_item(["body"], f"Give one of {expected}", "one_of", dict(given)))
    return found


def _check(name: str, field: Field, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    loc: list[str | int] = ["body", name]
    value = given.get(name)
    if value is None:
        if field.required:
            yield detail_item(loc, "Field required", "missing", dict(given))
    elif field.or_object and isinstance(value, dict):
        return
    elif type(value) is not field.kind:
        kind = _TYPE_NAMES[field.kind]
        yield detail_item(
            loc, f"Input should be a valid {kind}", f"{field.kind.__name__}_type", value
        )
    elif field.choices and value not in field.choices:
        expected = ", ".join(map(str, field.choices))
        yield detail_item(loc, f"Input should be one of {expected}", "literal_error", value)
    elif field.is_address and not _ADDRESS.fullmatch(str(value)):
        yield detail_item(loc, "Failed to download the file", "file_download_error", value)
    elif not isinstance(value, int):
        return
    elif field.at_least is not None and value < field.at_least:
        message = f"Input should be greater than or equal to {field.at_least}"
        yield detail_item(loc, message, "greater_than_equal", value)
    elif field.at_most is not None and value > field.at_most:
        message = f"Input should be less than or equal to {field.at_most}"
        yield detail_item(loc, message, "less_than_equal", value)


def video_seconds(endpoint: str, given: Mapping[str, Any]) -> int:
    """The asked length of a video in seconds, whether written ``"8s"``, ``"8"`` or ``8``; of
    several shots the sum."""
    shots = given.get("multi_prompt")
    if isinstance(shots, list) and shots:
        lengths = [shot.get("duration") for shot in shots if isinstance(shot, dict)]
        return sum(_seconds(length) or 5 for length in lengths)
    return _seconds(given.get("duration")) or model_of(endpoint).default_seconds


def _seconds(asked: object) -> int | None:
    if isinstance(asked, str) and re.fullmatch(r"[0-9]{1,3}s?", asked):
        asked = int(asked.removesuffix("s"))
    return asked if isinstance(asked, int) and 0 < asked < 1000 else None


def image_count(given: Mapping[str, Any]) -> int:
    """The asked number of images."""
    count = given.get("num_images", 1)
    return count if isinstance(count, int) else 1


def billable_units(endpoint: str, given: Mapping[str, Any]) -> int:
    """What a successful job costs: seconds of video, or images."""
    if model_of(endpoint).output == "image":
        return image_count(given)
    return video_seconds(endpoint, given)
