"""Every interleaving within small bounds is lawful; `python -m tests.modelcheck` goes further."""

from __future__ import annotations

import pytest

from contracts.limits import ATTEMPTS_MAX
from ledger_service.domain.generation import claims
from tests.modelcheck.actors import Options
from tests.modelcheck.exploring import Explorer, Summary

PLAIN = {"has_air": False, "by_hand": False, "forgets": False}
WHOLE = {
    "one worker": Options(workers=1, pauses_max=0, **PLAIN),
    "two workers, one attempt": Options(
        workers=2, attempts_max=1, claims_max=1, pauses_max=0, **PLAIN
    ),
}
"""Worlds that are small enough to be explored to their last state."""
LARGER = {
    "one worker, one attempt, late reports": Options(
        workers=1, attempts_max=1, pauses_max=0, by_hand=False, forgets=False
    ),
    "a list that may lack a submit": Options(
        workers=1, attempts_max=1, pauses_max=1, listing_complete=False, **PLAIN
    ),
}
"""The same, for more patience."""


def told(name: str, summary: Summary) -> Summary:
    """Print what was explored (`-s` shows it)."""
    print(f"{name}: {summary}")
    return summary


@pytest.mark.parametrize("name", WHOLE)
def test_a_small_world_is_lawful_to_its_last_state(name: str) -> None:
    """Nothing that can be reached breaks a rule, and from everywhere an end can be reached."""
    judge_whole(name, WHOLE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGER)
def test_a_larger_world_is_lawful_to_its_last_state(name: str) -> None:
    """The same with reports that come late, and with submits that nobody can find again."""
    judge_whole(name, LARGER[name])


def judge_whole(name: str, options: Options) -> None:
    """All there is, and that it is not little."""
    summary = told(name, Explorer(options).explore())
    assert summary.is_whole
    assert summary.finals > 500
    assert summary.depth > 20


def test_two_workers_with_everything_that_happens_are_lawful_for_a_while() -> None:
    """Late and repeated reports, refunds by hand, pauses, a provider that forgets."""
    summary = told("two workers", Explorer(Options()).explore(8))
    assert summary.depth == 8
    assert summary.states > 5_000
    assert summary.finals > 100


@pytest.mark.slow
def test_two_workers_are_lawful_for_longer() -> None:
    """The same, four moves deeper."""
    summary = told("two workers", Explorer(Options(pauses_max=0)).explore(11))
    assert summary.finals > 1_000


def test_a_run_leaves_the_real_limits_alone() -> None:
    """The world's small limits are those of its run only."""
    before = dict(vars(claims))
    assert before["ATTEMPTS_MAX"] == ATTEMPTS_MAX
    Explorer(Options(attempts_max=1, claims_max=1, pauses_max=0)).explore(2)
    assert dict(vars(claims)) == before


def test_the_same_world_is_explored_alike() -> None:
    """States, transitions and depth do not depend on chance."""
    options = Options(workers=2, **PLAIN)
    first, second = Explorer(options).explore(6), Explorer(options).explore(6)
    assert (first.states, first.transitions) == (second.states, second.transitions)
