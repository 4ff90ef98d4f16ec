"""Array literals: what goes in comes out, whatever it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_service.store.arrays import plain_array, text_array, time_array

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def parse(literal: str) -> list[str | None]:
    """A PostgreSQL array literal, read by the rules of its manual."""
    assert literal[0] + literal[-1] == "{}"
    items: list[str | None] = []
    rest = literal[1:-1]
    while rest:
        if rest.startswith('"'):
            item, at = "", 1
            while rest[at] != '"':
                at += rest[at] == "\\"
                item += rest[at]
                at += 1
            items.append(item)
            rest = rest[at + 1 :]
        else:
            word, _, _ = rest.partition(",")
            items.append(None if word == "NULL" else word)
            rest = rest[len(word) :]
        rest = rest.removeprefix(",")
    return items


@given(st.lists(st.none() | TEXT))
def test_any_text_survives(values: list[str | None]) -> None:
    """Quotes, backslashes, commas, braces and the word NULL are only text."""
    assert parse(text_array(values)) == values


def test_text_with_nul_is_refused() -> None:
    """It would end one element and begin another."""
    with pytest.raises(ValueError, match="NUL"):
        text_array(["a\0b"])


@given(st.lists(st.none() | st.datetimes()))
def test_any_instant_survives(values: list[object]) -> None:
    """In ISO 8601."""
    expected = [None if value is None else value.isoformat() for value in values]  # type: ignore[attr-defined]
    assert parse(time_array(values)) == expected  # type: ignore[arg-type]


def test_numbers_are_plain() -> None:
    """Nothing to quote."""
    assert plain_array([1, -2, 0]) == "{1,-2,0}"
    assert plain_array([True, False]) == "{True,False}"
