"""What a generation costs: a pure function of a price rule and an input.

Everything is an integer: thousandths of a credit for one unit, thousandths for each factor, one
rounding, upwards, at the very end. An input is priced with the defaults that the model's schema
states, and those that decided are in the line, so that the provider is told them as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from contracts.api.prices import OptionValue, PriceFactor, PriceLine, PriceRule

MILLIS: Final = 1_000
SHOT_DURATION: Final = "duration"
_SECONDS: Final = re.compile(r"([1-9][0-9]{0,3})s?(?!\n)", re.ASCII)
QUANTITY_MAX: Final = 9_999


class Unpriced(ValueError):
    """The rule has no price for this input; the option at fault is its text."""


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a price book with what the model's schema says of inputs that are left out."""

    book: int
    book_digest: str
    rule: PriceRule
    defaults: dict[str, Any]


def total_of(line: PriceLine, quantity: int) -> int:
    """What the same would have cost in this quantity, in credits."""
    total_millis, scale = quantity * line.unit_price_millis, MILLIS
    for factor in line.factors:
        total_millis *= factor.permille
        scale *= MILLIS
    return -(-total_millis // scale)


def price(priced: Priced, content: Mapping[str, Any]) -> PriceLine:
    """The line for this input. Raises `Unpriced`."""
    rule, given = priced.rule, {**priced.defaults, **content}
    options: dict[str, OptionValue] = {}
    quantity = _quantity(rule, given, options)
    factors = []
    for option, table in rule.factors.items():
        value = given.get(option)
        permille = table.get(word(value))
        if permille is None or not isinstance(value, OptionValue):
            raise Unpriced(option)
        options[option] = value
        factors.append(PriceFactor(option=option, permille=permille))
    line = PriceLine(
        book=priced.book,
        book_digest=priced.book_digest,
        type=rule.type,
        quantity=quantity,
        unit_price_millis=rule.unit_price_millis,
        options=options,
        factors=tuple(factors),
        total=0,
    )
    return replace(line, total=total_of(line, quantity))


def whole_units(value: object) -> int | None:
    """How many units a value says, whether written "8s", "8" or 8; None when it says none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 1 <= value <= QUANTITY_MAX else None
    found = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) if found else None


def word(value: object) -> str:
    """A value as tables of factors write it: true and false as words, numbers in digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _quantity(rule: PriceRule, given: Mapping[str, Any], options: dict[str, OptionValue]) -> int:
    shots = given.get(rule.shots_option) if rule.shots_option else None
    if shots:
        return _seconds_of(shots, str(rule.shots_option))
    if rule.quantity_option is None:
        return 1
    value = given.get(rule.quantity_option)
    quantity = whole_units(value)
    if quantity is None or not isinstance(value, OptionValue):
        raise Unpriced(rule.quantity_option)
    options[rule.quantity_option] = value
    return quantity


def _seconds_of(shots: object, option: str) -> int:
    seconds = 0
    for shot in shots if isinstance(shots, list) else [None]:
        length = whole_units(shot.get(SHOT_DURATION)) if isinstance(shot, dict) else None
        if length is None:
            raise Unpriced(option)
        seconds += length
    return seconds
