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

_TYPE_NAMES: Final = {str: "string", int: "integer", bool: "boolean"}


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a model."""

    kind: type[str] | type[int] | type[bool] = str
    required: bool = False
    choices: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None
    or_object: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint: its inputs by name (None: anything goes) and the kind of its output."""

    fields: Mapping[str, Field] | None
    output: Literal["video", "image"]
    default_seconds: int = 8


_PROMPT: Final = Field(required=True)
_SEED: Final = Field(kind=int, at_least=0)
_VEO: Final = {
    "prompt": _PROMPT,
    "duration": Field(choices=("4s", "6s", "8s")),
    "resolution": Field(choices=("720p", "1080p", "4k")),
    "aspect_ratio": Field(choices=("16:9", "9:16")),
    "generate_audio": Field(kind=bool),
    "negative_prompt": Field(),
    "seed": _SEED,
    "safety_tolerance": Field(choices=("1", "2", "3", "4", "5", "6")),
    "auto_fix": Field(kind=bool),
}
_IMAGE_SIZES: Final = (
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9",
)  # fmt: skip
MODELS: Final[Mapping[str, Model]] = {
    "fal-ai/veo3.1": Model(fields=_VEO, output="video"),
    "fal-ai/veo3.1/fast": Model(fields=_VEO, output="video"),
    "fal-ai/veo3.1/lite": Model(fields=_VEO, output="video"),
    "fal-ai/flux/schnell": Model(
        output="image",
        fields={
            "prompt": _PROMPT,
            "image_size": Field(choices=_IMAGE_SIZES, or_object=True),
            "num_images": Field(kind=int, at_least=1, at_most=4),
            "num_inference_steps": Field(kind=int, at_least=1, at_most=12),
            "seed": _SEED,
            "output_format": Field(choices=("jpeg", "png")),
            "enable_safety_checker": Field(kind=bool),
        },
    ),
}
_ANYTHING: Final = Model(fields=None, output="video", default_seconds=4)


def model_of(endpoint: str) -> Model:
    """The model behind an endpoint such as ``fal-ai/veo3.1/lite``."""
    return MODELS.get(endpoint, _ANYTHING)


def violations(endpoint: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with an input, as a model error's ``detail`` list; empty when it is fine.

    Unknown inputs are ignored, as fal's models ignore them.
    """
    fields = model_of(endpoint).fields or {}
    return [item for name, field in fields.items() for item in _check(name, field, given)]


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
        expected = ", ".join(field.choices)
        yield detail_item(loc, f"Input should be one of {expected}", "literal_error", value)
    elif field.at_least is not None and int(value) < field.at_least:
        message = f"Input should be greater than or equal to {field.at_least}"
        yield detail_item(loc, message, "greater_than_equal", value)
    elif field.at_most is not None and int(value) > field.at_most:
        message = f"Input should be less than or equal to {field.at_most}"
        yield detail_item(loc, message, "less_than_equal", value)


def video_seconds(endpoint: str, given: Mapping[str, Any]) -> int:
    """The asked length of a video in seconds, whether written ``"8s"``, ``"8"`` or ``8``."""
    asked = given.get("duration")
    if isinstance(asked, str) and re.fullmatch(r"[0-9]{1,3}s?", asked):
        asked = int(asked.removesuffix("s"))
    if isinstance(asked, int) and 0 < asked < 1000:
        return asked
    return model_of(endpoint).default_seconds


def image_count(given: Mapping[str, Any]) -> int:
    """The asked number of images."""
    count = given.get("num_images", 1)
    return count if isinstance(count, int) else 1


def billable_units(endpoint: str, given: Mapping[str, Any]) -> int:
    """What a successful job costs: seconds of video, or images."""
    if model_of(endpoint).output == "image":
        return image_count(given)
    return video_seconds(endpoint, given)
