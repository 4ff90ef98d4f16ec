"""The models on offer: what they take, what they make, what they cost.

Prices are whole credits per generation and part of this table; a generation keeps the price it
was asked for at.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import jsonschema
import msgspec

from contracts.api.generations import Model
from contracts.problems import FieldError, ProblemCode
from ledger_service.errors import Rejected

ERRORS_MAX: Final = 20


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model with what only the ledger and the worker know of it."""

    model: Model
    provider: str
    endpoint: str

    @property
    def tags(self) -> tuple[str, ...]:
        """What a generation of it is, for grants that are restricted."""
        return (self.model.kind, self.model.model)


class Catalogue:
    """Offers by name; the first one is the cheapest that needs only a prompt."""

    def __init__(self, offers: list[Offer], deadline_seconds: float | None = None) -> None:
        self._deadline_seconds = deadline_seconds
        if deadline_seconds is not None:
            offers = [_with_deadline(offer, deadline_seconds) for offer in offers]
        ordered = sorted(offers, key=lambda offer: (_needs_more(offer), offer.model.price))
        self._offers = {offer.model.model: offer for offer in ordered}
        self._validators = {
            name: jsonschema.Draft202012Validator(offer.model.input_schema)
            for name, offer in self._offers.items()
        }

    def models(self) -> tuple[Model, ...]:
        """All models in the order in which they are shown."""
        return tuple(offer.model for offer in self._offers.values())

    def offer(self, name: str) -> Offer:
        """Raises `Rejected` (`model_not_found`)."""
        offer = self._offers.get(name)
        if offer is None:
            raise Rejected(ProblemCode.MODEL_NOT_FOUND, model=name)
        return offer

    def orderable(self, name: str, content: dict[str, Any]) -> Offer:
        """The offer, if it can be had with this input. Raises `Rejected`."""
        offer = self.offer(name)
        if not offer.model.available:
            raise Rejected(ProblemCode.MODEL_UNAVAILABLE, model=name)
        faults = tuple(_faults(self._validators[name], content))
        if faults:
            raise Rejected(ProblemCode.VALIDATION_FAILED, errors=faults)
        return offer


def deadline_of(offer: Offer) -> timedelta:
    """How long a generation may take."""
    return timedelta(seconds=offer.model.deadline_seconds)


def _faults(validator: Any, content: dict[str, Any]) -> Iterator[FieldError]:
    """Where the input breaks which rule; its own words are not repeated."""
    for error in islice(validator.iter_errors(content), ERRORS_MAX):
        pointer = "/input" + "".join(f"/{part}" for part in error.absolute_path)
        if error.validator == "additionalProperties":
            for name in sorted(error.instance.keys() - error.schema["properties"].keys()):
                yield FieldError(f"{pointer}/{name}"[:200], "the model does not take this")
        elif error.validator == "required":
            yield FieldError(pointer, f"needs {', '.join(error.validator_value)}")
        else:
            rule = f"breaks the rule {error.validator}: {error.validator_value}"
            yield FieldError(pointer, rule[:200])


def _needs_more(offer: Offer) -> bool:
    return offer.model.input_schema.get("required") != ["prompt"]


def _with_deadline(offer: Offer, seconds: float) -> Offer:
    model = msgspec.structs.replace(offer.model, deadline_seconds=round(seconds))
    return msgspec.structs.replace(offer, model=model)


_PROMPT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": 5000,
    "description": "What to generate.",
}


def _veo(name: str, endpoint: str, title: str, price: int) -> Offer:
    """One of the Veo 3.1 text-to-video endpoints; they take the same input."""
    return Offer(
        provider="fal",
        endpoint=endpoint,
        model=Model(
            model=name,
            title=title,
            kind="video",
            description="A short video with sound from a text prompt.",
            price=price,
            output="video",
            available=True,
            deadline_seconds=1800,
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "required": ["prompt"],
                "properties": {
                    "prompt": _PROMPT,
                    "negative_prompt": {"type": "string", "maxLength": 2000},
                    "duration": {"enum": ["4s", "6s", "8s"], "default": "8s"},
                    "resolution": {"enum": ["720p", "1080p"], "default": "720p"},
                    "aspect_ratio": {"enum": ["16:9", "9:16"], "default": "16:9"},
                    "generate_audio": {"type": "boolean", "default": True},
                    "seed": {"type": "integer", "minimum": 0, "maximum": 2147483647},
                },
            },
        ),
    )


SHIPPED: Final = [
    _veo("veo-3.1-lite", "fal-ai/veo3.1/lite", "Veo 3.1 Lite", 20),
    _veo("veo-3.1-fast", "fal-ai/veo3.1/fast", "Veo 3.1 Fast", 60),
    _veo("veo-3.1", "fal-ai/veo3.1", "Veo 3.1", 160),
]
