"""The models on offer: what they take, what they make, what they cost.

Made from the catalogue's document (`document.py`); what a tenant or the operator switched off at
run time comes in as `Switches`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from contracts.api.generations import Model
from contracts.api.prices import PriceLine
from contracts.jobs import WorkModel
from contracts.problems import FieldError, ProblemCode
from ledger_service.domain.generation.pricing import Priced, Unpriced, price
from ledger_service.errors import Rejected
from ledger_service.generations.document import Document, Entry
from ledger_service.generations.inputs import faults_of, validator_of


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a model at run time; null: as the catalogue has it."""

    available: bool = True
    deprecated: bool | None = None
    note: str | None = None


Switches = Mapping[str, Switch]
A_PUBLIC_LINK: Final = "https://example.com/"
UNTOUCHED: Final[Switches] = MappingProxyType({})


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model with what only the ledger and the worker know of it."""

    model: Model
    provider: str
    endpoint: str
    priced: Priced

    @property
    def tags(self) -> tuple[str, ...]:
        """What a generation of it is, for grants that are restricted."""
        return (self.model.kind, self.model.model)

    def price(self, content: dict[str, Any]) -> PriceLine:
        """What an input that fits the schema costs. Raises `Rejected` for one without a price."""
        try:
            return price(self.priced, content)
        except Unpriced as error:
            faults = (FieldError(f"/input/{error}", "has no price for this value"),)
            raise Rejected(ProblemCode.VALIDATION_FAILED, errors=faults) from None


class Catalogue:
    """Offers by name; the first one is the cheapest that needs only a prompt."""

    def __init__(
        self,
        document: Document,
        deadline_seconds: float | None = None,
        is_own_link: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`is_own_link`: may stand wherever a model takes an address, whatever its schema says of
        addresses: that is about foreign ones."""
        self._is_own_link = is_own_link
        digest = document.digest
        offers = [
            _offer(entry, document.priced(entry, digest), deadline_seconds)
            for entry in document.models
        ]
        ordered = sorted(offers, key=lambda offer: (_needs_more(offer), offer.model.price))
        self._offers = {offer.model.model: offer for offer in ordered}
        self._validators = {
            name: validator_of(offer.model.input_schema) for name, offer in self._offers.items()
        }

    def models(self, switches: Switches = UNTOUCHED) -> tuple[Model, ...]:
        """All models in the order in which they are shown: what cannot be had comes last."""
        shown = [self.model(name, switches) for name in self._offers]
        return tuple(sorted(shown, key=lambda model: not model.available))

    def makers(self) -> tuple[WorkModel, ...]:
        """Who makes each model, on offer or not."""
        return tuple(
            WorkModel(model=name, provider=offer.provider, endpoint=offer.endpoint)
            for name, offer in self._offers.items()
        )

    def model(self, name: str, switches: Switches = UNTOUCHED) -> Model:
        """A model as it is offered now. Raises `Rejected` (`model_not_found`)."""
        model, switch = self.offer(name).model, switches.get(name)
        if switch is None:
            return model
        return replace(
            model,
            available=model.available and switch.available,
            deprecated=model.deprecated if switch.deprecated is None else switch.deprecated,
            note=switch.note or model.note,
        )

    def offer(self, name: str) -> Offer:
        """Raises `Rejected` (`model_not_found`)."""
        offer = self._offers.get(name)
        if offer is None:
            raise Rejected(ProblemCode.MODEL_NOT_FOUND, model=name[:64])
        return offer

    def orderable(
        self, name: str, content: dict[str, Any], switches: Switches = UNTOUCHED
    ) -> Offer:
        """The offer, if it can be had with this input. Raises `Rejected`."""
        model = self.model(name, switches)
        if not model.available:
            raise Rejected(ProblemCode.MODEL_UNAVAILABLE, model=name, note=model.note)
        if faults := faults_of(self._validators[name], self._judged(content)):
            raise Rejected(ProblemCode.VALIDATION_FAILED, errors=faults)
        return self.offer(name)

    def _judged(self, content: dict[str, Any]) -> dict[str, Any]:
        """The input as its schema sees it."""

        def judged(value: Any) -> Any:
            if isinstance(value, list):
                return [judged(each) for each in value]
            is_own = isinstance(value, str) and self._is_own_link(value)
            return A_PUBLIC_LINK if is_own else value

        return {name: judged(value) for name, value in content.items()}


def deadline_of(offer: Offer) -> timedelta:
    """How long a generation may take."""
    return timedelta(seconds=offer.model.deadline_seconds)


def default_input(entry: Entry) -> dict[str, Any]:
    """The options of an input that says no more than it must: for one that has no default, the
    first value."""
    required = entry.input_schema.get("required", ())
    return {
        name: entry.properties[name]["enum"][0]
        for name in required
        if "enum" in entry.properties[name]
    }


def _offer(entry: Entry, priced: Priced, deadline_seconds: float | None) -> Offer:
    model = Model(
        model=entry.model,
        title=entry.title,
        kind=entry.kind,
        description=entry.description,
        input_schema=entry.input_schema,
        price=price(priced, default_input(entry)).total,
        price_rule=entry.price,
        book=priced.book,
        output=entry.output,
        available=entry.available,
        deprecated=entry.deprecated,
        note=entry.note,
        deadline_seconds=round(deadline_seconds or entry.deadline_seconds),
    )
    return Offer(model=model, provider=entry.provider, endpoint=entry.endpoint, priced=priced)


def _needs_more(offer: Offer) -> bool:
    return offer.model.input_schema.get("required") != ["prompt"]
