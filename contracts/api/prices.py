"""Prices: how a model's is made, how one was made, and quotes."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec

from contracts import limits
from contracts.api.common import Reply, Request
from contracts.api.themes import Subject

UnitPrice = Annotated[int, msgspec.Meta(ge=0, le=limits.UNIT_PRICE_MAX_MILLIS)]
"""Thousandths of a credit for one unit."""
Permille = Annotated[int, msgspec.Meta(ge=0, le=limits.PRICE_FACTOR_MAX_PERMILLE)]
"""A factor in thousandths: 1000 changes nothing."""
OptionValue = str | bool | int
QuoteId = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.QUOTE_ID_MAX_CHARACTERS)]


class PriceType(enum.StrEnum):
    """What is counted: the generation itself, seconds of video, or images."""

    FLAT = "flat"
    PER_SECOND = "per_second"
    PER_IMAGE = "per_image"


class PriceRule(Reply, frozen=True, kw_only=True):
    """The price of any input: quantity x unit price x the factor of each option's value, rounded
    up to whole credits, once, at the end.

    `quantity_option` names the input that says how many units; a list of shots under
    `shots_option` (each with a `duration`) replaces it. `factors` are thousandths by option and
    value, true and false as words.
    """

    type: PriceType
    unit_price_millis: UnitPrice
    quantity_option: str | None = None
    shots_option: str | None = None
    factors: dict[str, dict[str, Permille]] = msgspec.field(default_factory=dict)


class PriceFactor(Reply, frozen=True, kw_only=True):
    """What the value of one option did to a price, in thousandths."""

    option: str
    permille: int


class PriceLine(Reply, frozen=True, kw_only=True):
    """How a price came about, never to change: the version of the price book with the head of its
    digest, the options that decided, and `total` in credits."""

    book: int
    book_digest: str
    type: PriceType
    quantity: int
    unit_price_millis: int
    options: dict[str, OptionValue]
    factors: tuple[PriceFactor, ...]
    total: int


class QuoteRequest(Request, frozen=True, kw_only=True):
    """Ask what a generation would cost; of a theme, as one would order it."""

    model: str | None = None
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    theme: str | None = None
    subject: Subject | None = None


class Quote(Reply, frozen=True, kw_only=True):
    """A price that holds for this very model and input until `expires_at`."""

    quote_id: str
    model: str
    price: int
    expires_at: datetime
    lines: tuple[PriceLine, ...]
