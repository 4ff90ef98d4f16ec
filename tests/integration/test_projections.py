"""Projections are what the log says, row by row, whatever happens to those who make them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger_service.projections.follower import Follower
from tests.fixtures.engines import running_engine
from tests.fixtures.lives import Lives
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

OWNERS = tuple(f"demo/user-{n}" for n in range(4))


async def lived(database: Database, seed: int, moves: int = 500) -> Lives:
    """Some accounts with a past."""
    async with running_engine(database.url) as engine:
        lives = Lives(engine, seed, OWNERS)
        await lives.live(moves)
        return lives


def followed(database: Database, **options: Any) -> int:
    """Let a follower catch up; returns how many events it took in."""
    follower = Follower(database.url, **options)
    try:
        return follower.catch_up()
    finally:
        follower.close()


def test_entries_add_up_to_the_balance(database: Database) -> None:
    """At every entry, the signed amounts so far are the posted balance; none is missing."""
    lives = asyncio.run(lived(database, seed=1, moves=1500))
    print(sorted(lives.kinds_done))
    followed(database)
    with database.connect() as connection:
        for owner in OWNERS:
            rows = connection.execute(
                "SELECT version, amount, direction, posted_after FROM ledger.entries"
                " WHERE owner = %s ORDER BY version",
                (owner,),
            ).fetchall()
            posted = 0
            for ordinal, (version, amount, direction, after) in enumerate(rows, 1):
                posted += {"credit": amount, "debit": -amount, "none": 0}[direction]
                assert (version, posted) == (ordinal, after)
