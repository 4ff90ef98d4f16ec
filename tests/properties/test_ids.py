"""Ids say when, where and which, and there is one spelling of each."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ledger_service.domain.ids import locate, make_id, milliseconds_of, stream_uid, version_in

INSTANTS = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the zone is given beside it
    max_value=datetime(9999, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
VERSIONS = st.integers(1, 2**40 - 1)
STREAMS = st.text(min_size=1)
ID_TEXTS = st.text("0123456789abcdefghijklmnopqrstuvVW=ä", min_size=31, max_size=31)


@given(INSTANTS, STREAMS, VERSIONS)
def test_an_id_tells_what_it_was_made_of(at: datetime, stream: str, version: int) -> None:
    """Milliseconds, stream and version come back out of every id."""
    text = make_id("grt", at, stream, version)
    assert locate("grt", text) == (milliseconds_of(at), stream_uid(stream), version)
    assert version_in("grt", text, stream) == version


@given(INSTANTS, INSTANTS, STREAMS, VERSIONS, VERSIONS)
def test_ids_sort_by_time(one: datetime, two: datetime, stream: str, v: int, w: int) -> None:
    """The text order of a stream's ids is their order by millisecond, then by version."""
    first, second = make_id("grt", one, stream, v), make_id("grt", two, stream, w)
    by_time = (milliseconds_of(one), v) < (milliseconds_of(two), w)
    assert (first < second) == by_time


@given(ID_TEXTS)
def test_any_text_is_an_id_or_nothing(digits: str) -> None:
    """Whatever decodes is spelled exactly as it would be made; the rest is nothing."""
    found = locate("grt", f"grt_{digits}")
    if found is not None:
        packed = found.milliseconds << 104 | found.stream_uid << 40 | found.version
        assert packed.bit_length() <= 152
        others = [digits[:-1] + last for last in "0123456789abcdefghijklmnopqrstuv"]
        assert [d for d in others if locate("grt", f"grt_{d}") == found] == [digits]
