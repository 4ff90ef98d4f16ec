"""Binary parameters: psycopg's own loaders read back what went in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.pq import Format

from ledger_service.store.binary import bytea_array, int_value, text_array, time_array, time_value

BYTEA_ARRAY, TEXT_ARRAY, TIMESTAMPTZ_ARRAY = 1001, 1009, 1185
INT8, TIMESTAMPTZ = 20, 1184
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
INSTANTS = st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def read(oid: int, value: bytes) -> Any:
    """As psycopg reads it from a server's answer."""
    return Transformer().get_loader(oid, Format.BINARY).load(value)


@given(st.lists(st.none() | TEXT) | st.tuples(TEXT, st.integers(0, 5)).map(lambda t: [t[0]] * t[1]))
def test_any_text_survives(values: Sequence[str | None]) -> None:
    """NULL, the empty text and any script; and columns that are one value throughout."""
    assert read(TEXT_ARRAY, text_array(values)) == list(values)


@pytest.mark.parametrize("values", [["a\0b"], ["a\0b", "c"], ["a\0b", None], ["a\0b"] * 3])
def test_text_with_nul_is_refused(values: Sequence[str | None]) -> None:
    """It would end one element and begin another."""
    with pytest.raises(ValueError, match="NUL"):
        text_array(values)


@given(st.lists(st.none() | st.binary(max_size=40)))
def test_any_bytes_survive(values: Sequence[bytes | None]) -> None:
    """Those of any length, none among them."""
    assert read(BYTEA_ARRAY, bytea_array(values)) == list(values)


def test_long_values_survive() -> None:
    """Longer than the lengths that are kept ready."""
    assert read(TEXT_ARRAY, text_array(["x" * 5_000, "y"])) == ["x" * 5_000, "y"]
    assert read(BYTEA_ARRAY, bytea_array([bytes(70_000), b"y"])) == [bytes(70_000), b"y"]


@given(st.lists(st.none() | INSTANTS))
def test_any_instant_survives(values: Sequence[datetime | None]) -> None:
    """To the microsecond, before 2000 as well."""
    assert read(TIMESTAMPTZ_ARRAY, time_array(values)) == list(values)


@given(st.integers(-(2**63), 2**63 - 1), INSTANTS)
def test_single_values_survive(number: int, instant: datetime) -> None:
    """A bigint and a timestamptz."""
    assert read(INT8, int_value(number)) == number
    assert read(TIMESTAMPTZ, time_value(instant)) == instant
