"""A short soak: the long one is `python -m tests.soak`."""

from __future__ import annotations

import itertools

import pytest

from tests.soak.faults import faults_of
from tests.soak.moves import moves_of
from tests.soak.running import Plan, soak

PLAN = Plan(
    seed=11,
    generations=60,
    customers=4,
    pause_seconds=0.5,
    calm_seconds=1.5,
    deadline_seconds=10,
    grace_seconds=3,
)


@pytest.mark.slow
def test_whatever_dies_every_generation_ends_and_every_credit_is_where_it_belongs() -> None:
    """Customers order, cancel and delete, the provider misbehaves, and everything is killed and
    frozen in turn: nothing is lost, paid twice, refunded twice, submitted twice, or stuck."""
    said: list[str] = []
    outcome = soak(PLAN, said.append)
    assert outcome.findings == [], "\n".join(said)
    taken = outcome.answers["order 202"]
    assert taken + outcome.answers["order 402"] == PLAN.generations
    assert sum(outcome.endings.values()) == taken > PLAN.generations / 2
    assert len(outcome.endings) >= 2, outcome.endings
    assert outcome.faults, "nothing was broken, so nothing was shown"


def test_a_seed_decides_who_does_what_and_what_breaks() -> None:
    """The same seed gives the same moves and faults, another one gives others."""

    def drawn(seed: int) -> tuple[object, object]:
        return moves_of(seed, 0, 50, 1.0), list(itertools.islice(faults_of(seed, 1.0), 50))

    assert drawn(7) == drawn(7)
    assert drawn(7)[0] != drawn(8)[0]
    assert drawn(7)[1] != drawn(8)[1]
    kinds = {move.kind for move in moves_of(7, 0, 50, 1.0)}
    assert kinds == {"order", "cancel", "delete"}
