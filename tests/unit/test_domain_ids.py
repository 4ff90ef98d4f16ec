"""Ids locate the event that they stand for, and sort by time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ledger_service.domain.ids import (
    generation_stream,
    locate,
    make_id,
    owner_of,
    split_owner,
    version_in,
)
from tests.fixtures.worlds import ALICE, BOB, NOON


def test_an_id_is_found_in_its_own_stream_alone() -> None:
    """Prefix and stream must fit, or the thing is not found."""
    text = make_id("dbt", NOON, ALICE, 7)
    assert version_in("dbt", text, ALICE) == 7
    assert version_in("grt", text, ALICE) is None
    assert version_in("dbt", text, BOB) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dbt",
        "dbt_",
        "dbt_" + "0" * 30,
        "dbt_" + "0" * 32,
        "dbt_" + "0" * 31,
        "dbt_" + "w" * 31,
        "dbt_" + "ä" * 31,
        "dbt_" + "\u0660" * 31,
        "dbt_" + "0" * 29 + "==",
        "dbt_" + "V" * 31,
        "dbt_" + "\0" * 31,
    ],
)
def test_what_is_not_an_id_is_nothing(text: str) -> None:
    """Any other text decodes to nothing and raises nothing."""
    assert locate("dbt", text) is None


def test_ids_sort_by_time_then_by_version() -> None:
    """Text order within a stream is the order in which things came about."""
    times = [NOON + timedelta(milliseconds=step) for step in (0, 0, 1, 1000, 10**12)]
    ids = [make_id("grt", at, ALICE, version) for version, at in enumerate(times, start=1)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_owners_and_streams_are_spelled_in_one_place() -> None:
    """An owner is tenant/account, a generation's stream hangs below it."""
    owner = owner_of("acme", "user:1.a-b_c")
    assert split_owner(owner) == ("acme", "user:1.a-b_c")
    assert generation_stream(owner, "gen_1") == "acme/user:1.a-b_c/gen_1"
