"""Prices: whole credits, never negative, never less for more, and equal to a second opinion."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.api.prices import PriceRule, PriceType
from ledger_service.domain.generation.pricing import Priced, Unpriced, price, whole_units
from ledger_service.generations.document import Entry, shipped
from tests.fixtures.naive_prices import least_input, naive_price

FORMATS = ("{}s", "{}", "int")
LEVELS = ("low", "middle", "high")
ENTRIES = {entry.model: entry for entry in shipped().models}


class Case(NamedTuple):
    """A rule, the schema that it is for, and an input."""

    rule: PriceRule
    schema: dict[str, Any]
    given: dict[str, Any]


def written(seconds: int, form: str) -> str | int:
    """A duration as some model writes it."""
    return seconds if form == "int" else form.format(seconds)


def tables() -> st.SearchStrategy[dict[str, dict[str, int]]]:
    """Factors by option."""
    permille = st.integers(0, 5_000)
    levels = st.fixed_dictionaries(dict.fromkeys(LEVELS, permille))
    sound = st.fixed_dictionaries({"true": permille, "false": permille})
    return st.fixed_dictionaries({}, optional={"level": levels, "sound": sound})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any rule with any input that it has a price for, options left out or not."""
    form = draw(st.sampled_from(FORMATS))
    kind = draw(st.sampled_from([PriceType.FLAT, PriceType.PER_SECOND]))
    rule = PriceRule(
        type=kind,
        unit_price_millis=draw(st.integers(0, 10**9)),
        quantity_option="duration" if kind is PriceType.PER_SECOND else None,
        factors=draw(tables()),
    )
    schema = {
        "properties": {
            "duration": {"default": written(draw(st.integers(1, 600)), form)},
            "level": {"default": draw(st.sampled_from(LEVELS))},
            "sound": {"default": draw(st.booleans())},
        }
    }
    chosen = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "duration": st.integers(1, 600).map(lambda seconds: written(seconds, form)),
                "level": st.sampled_from(LEVELS),
                "sound": st.booleans(),
            },
        )
    )
    return Case(rule, schema, chosen)


def priced(case: Case, rule: PriceRule | None = None) -> Priced:
    """The rule with the schema's defaults."""
    defaults = {name: shown["default"] for name, shown in case.schema["properties"].items()}
    return Priced(book=3, book_digest="d", rule=rule or case.rule, defaults=defaults)


@given(cases())
def test_a_price_is_what_the_rule_says(case: Case) -> None:
    """Whole credits, at least none, and what a second implementation makes of the same text."""
    line = price(priced(case), case.given)
    rule = msgspec.to_builtins(case.rule)
    assert line.total == naive_price(rule, case.schema, case.given)
    assert isinstance(line.total, int)
    assert line.total >= 0
    assert (line.book, line.book_digest, line.type) == (3, "d", case.rule.type)


@given(cases())
def test_a_line_explains_itself(case: Case) -> None:
    """The total follows from what the line says, and pricing what it says gives the same line."""
    line = price(priced(case), case.given)
    millis, scale = line.quantity * line.unit_price_millis, 1_000
    for factor in line.factors:
        millis, scale = millis * factor.permille, scale * 1_000
    assert (line.total - 1) * scale < millis <= line.total * scale
    assert price(priced(case), {**case.given, **line.options}) == line


@given(cases(), st.integers(1, 600), st.integers(1, 10**6))
def test_more_never_costs_less(case: Case, seconds: int, more_millis: int) -> None:
    """Longer, or dearer by unit or by any factor: the price does not fall."""
    line = price(priced(case), case.given)
    units = whole_units(
        case.given.get("duration", case.schema["properties"]["duration"]["default"])
    )
    assert units is not None
    longer = {**case.given, "duration": units + seconds}
    assert price(priced(case), longer).total >= line.total
    dearer = replace(case.rule, unit_price_millis=case.rule.unit_price_millis + more_millis)
    assert price(priced(case, dearer), case.given).total >= line.total
    for option, table in case.rule.factors.items():
        raised = {name: permille + 1 for name, permille in table.items()}
        factors = {**case.rule.factors, option: raised}
        assert price(priced(case, replace(case.rule, factors=factors)), case.given).total >= (
            line.total
        )


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Entry, dict[str, Any]]:
    """An input of a shipped model, with options chosen or left out."""
    entry = ENTRIES[draw(st.sampled_from(sorted(ENTRIES)))]
    chosen = least_input(entry.input_schema)
    for name, schema in entry.properties.items():
        values = schema.get("enum") or ([True, False] if schema.get("type") == "boolean" else [])
        if values and (name in chosen or draw(st.booleans())):
            chosen[name] = draw(st.sampled_from(values))
    if "multi_prompt" in entry.properties and draw(st.booleans()):
        lengths = draw(st.lists(st.sampled_from(["3", "5", "15"]), min_size=1, max_size=6))
        chosen["multi_prompt"] = [{"prompt": "x", "duration": length} for length in lengths]
        del chosen["prompt"]
    return entry, chosen


@given(inputs())
def test_every_input_of_every_shipped_model_has_its_price(
    ordered: tuple[Entry, dict[str, Any]],
) -> None:
    """What a schema takes, the book has a price for: above nothing, and the naive one."""
    entry, given_ = ordered
    line = price(shipped().priced(entry, "d"), given_)
    rule = msgspec.to_builtins(entry.price)
    assert line.total == naive_price(rule, entry.input_schema, given_) > 0


@pytest.mark.parametrize(
    ("value", "units"),
    [("8s", 8), ("8", 8), (8, 8), ("0", None), (0, None), (-1, None), (True, None), (8.0, None),
     ("8 s", None), ("8s\n", None), ("٨", None), ("", None), (None, None), (10_000, None)],
)  # fmt: skip
def test_a_duration_is_read_however_a_model_writes_it(value: object, units: int | None) -> None:
    """Seconds with and without their unit, as text or number; nothing else counts as units."""
    assert whole_units(value) == units


def test_what_has_no_price_is_not_given_away() -> None:
    """An option's value without a factor, or a quantity that is none, is refused."""
    rule = PriceRule(
        type=PriceType.PER_SECOND, unit_price_millis=1, quantity_option="duration",
        factors={"level": {"low": 1}},
    )  # fmt: skip
    book = Priced(book=1, book_digest="d", rule=rule, defaults={"level": "low"})
    for given_, option in (
        ({"duration": "8s", "level": "high"}, "level"),
        ({"duration": "long"}, "duration"),
        ({}, "duration"),
    ):
        with pytest.raises(Unpriced, match=option):
            price(book, given_)
