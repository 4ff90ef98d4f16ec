"""The oracle on its own: whatever is done, the equations hold."""

from __future__ import annotations

import random

import pytest

from tests.oracle.model import World
from tests.oracle.moves import SECOND, Mover
from tests.oracle.things import DAY, Policy, Refused

START = 1_750_000_000 * SECOND


@pytest.mark.parametrize("seed", range(20))
def test_equations_hold_after_every_random_command(seed: int) -> None:
    """No command breaks an equation, and some of each kind are refused."""
    rng = random.Random(seed)
    policy = Policy(
        grace=rng.choice((0, SECOND, 7 * DAY)),
        repay_debt=rng.random() < 0.8,
        promotional_first=rng.random() < 0.5,
    )
    world, now, accepted = World(policy=policy), START, 0
    mover = Mover(str(seed), world, ["a", "b", "c", "d"])
    for _ in range(300):
        now += rng.choice((1, SECOND // 10, SECOND, 3 * SECOND))
        move = mover.next(now)
        try:
            world.do(move.command, now, **move.fields)
        except Refused:
            continue
        accepted += 1
        for account in world.accounts.values():
            for hold in account.holds:
                if hold.status == "open" and hold.expires_at <= now:
                    world.do("expire_hold", now, account=account.id, hold=hold.id)
    assert 150 < accepted < 300
