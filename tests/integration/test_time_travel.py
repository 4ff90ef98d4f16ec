"""What an account was at any point is what its events say, with snapshots or without."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger_service.audit.fold import Fold
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events import decode
from ledger_service.domain.events.holds import HoldAfter
from ledger_service.store.past import Moment, Past
from ledger_service.store.pool import ReadPool
from tests.fixtures.engines import running_engine
from tests.fixtures.lives import Lives
from tests.fixtures.services import Database
from tests.integration.test_projections import OWNERS, followed

pytestmark = pytest.mark.slow

PAGE = 10_000


class Then:
    """The accounts as they were after a whole command, folded from nothing."""

    def __init__(self, position: int, recorded_at: datetime, fold: Fold) -> None:
        self.position = position
        self.recorded_at = recorded_at
        self.accounts: dict[str, AccountState] = dict(fold.accounts)
        self.left = {owner: dict(lots) for owner, lots in fold.shelves.items()}
        self.holds = {place: held.hold for place, held in fold.holds.items()}

    def lots(self, owner: str) -> list[Lot]:
        """All lots by id, newest first."""
        lots = [*self.accounts[owner].lots, *self.left.get(owner, {}).values()]
        return sorted(lots, key=lambda lot: lot.grant_id, reverse=True)

    def holds_of(self, owner: str) -> list[HoldAfter]:
        """All holds by id, newest first."""
        mine = [hold for (whose, _), hold in self.holds.items() if whose == owner]
        return sorted(mine, key=lambda hold: hold.hold_id, reverse=True)


def log_of(database: Database) -> Iterator[Any]:
    """Every event in the order of the log."""
    with database.connect() as connection:
        yield from connection.execute(
            "SELECT position, owner, stream, version, topic, state, recorded_at, last_of_command"
            " FROM ledger.events ORDER BY position"
        ).fetchall()


def every_then(database: Database) -> list[Then]:
    """What was after each whole command."""
    fold, found = Fold(), []
    for position, owner, stream, version, topic, state, recorded_at, last in log_of(database):
        fold.add(owner, stream, version, decode(topic, state), recorded_at.astimezone(UTC))
        if last:
            found.append(Then(position, recorded_at.astimezone(UTC), fold))
    return found


async def lived(database: Database, seed: int, moves: int) -> None:
    """Some accounts with a past."""
    async with running_engine(database.url) as engine:
        await Lives(engine, seed, OWNERS).live(moves)


async def compare(past: Past, owner: str, then: Then, moment: Moment | None) -> None:
    """The account, all its lots and all its holds are as they were then."""
    if owner not in then.accounts:
        assert moment is None
        return
    assert moment is not None
    view = await past.account(owner, moment)
    assert view.state == then.accounts[owner]
    assert await past.lots(owner, moment, None, PAGE) == then.lots(owner)
    assert await past.holds(owner, moment, None, PAGE) == then.holds_of(owner)


async def travel(database: Database, points: list[Then]) -> None:
    """Compare all accounts at all these points, by position."""
    pool = ReadPool(database.url)
    await pool.open()
    past = Past(pool)
    for then in points:
        for owner in OWNERS:
            await compare(past, owner, then, await past.at_position(owner, then.position))
    await pool.close()


@pytest.mark.parametrize("every", [1, 7, 1_000_000])
def test_every_position_is_what_folding_from_nothing_says(database: Database, every: int) -> None:
    """With a snapshot of every event, of few events, and with none."""
    asyncio.run(lived(database, seed=every, moves=200))
    followed(database, snapshot_every=every)
    with database.connect() as connection:
        row = connection.execute("SELECT count(*) FROM ledger.account_snapshots").fetchone()
    assert row is not None
    assert (row[0] > 0) == (every < 1_000)
    asyncio.run(travel(database, every_then(database)))


def test_what_the_projections_do_not_know_yet_is_there_too(database: Database) -> None:
    """A follower that stopped half-way, or never ran, costs nobody their past."""
    asyncio.run(lived(database, seed=5, moves=120))
    followed(database, snapshot_every=5)
    asyncio.run(lived(database, seed=6, moves=120))
    points = every_then(database)
    asyncio.run(travel(database, random.Random(1).sample(points, 80) + points[-3:]))


def test_an_instant_is_the_last_thing_recorded_by_then(database: Database) -> None:
    """Exactly at a command's time it counts, a microsecond before it does not."""
    asyncio.run(lived(database, seed=9, moves=150))
    followed(database, snapshot_every=10)
    points = every_then(database)

    async def scenario() -> None:
        pool = ReadPool(database.url)
        await pool.open()
        past = Past(pool)
        tick = timedelta(microseconds=1)
        for before, then in itertools.pairwise(points):
            if before.recorded_at == then.recorded_at:
                continue
            for owner in OWNERS:
                at = await past.at_instant(owner, then.recorded_at)
                just_before = await past.at_instant(owner, then.recorded_at - tick)
                assert (at and at.version) == version_of(then, owner)
                assert (just_before and just_before.version) == version_of(before, owner)
        await pool.close()

    asyncio.run(scenario())


def version_of(then: Then, owner: str) -> int | None:
    """The version an account had, if it was there."""
    state = then.accounts.get(owner)
    return state.version if state else None


def test_a_position_within_a_command_is_before_it(database: Database) -> None:
    """No one ever sees half a command: the cut is at the end of the one before."""
    asyncio.run(lived(database, seed=3, moves=200))
    points = {then.position: then for then in every_then(database)}

    async def scenario() -> None:
        pool = ReadPool(database.url)
        await pool.open()
        past, last = Past(pool), None
        for position in range(1, max(points) + 1):
            last = points.get(position, last)
            for owner in OWNERS:
                moment = await past.at_position(owner, position)
                if last is None:
                    assert moment is None
                else:
                    assert (moment and moment.version) == version_of(last, owner)
        await pool.close()

    asyncio.run(scenario())
    assert len(points) < max(points), "the scenario has commands of several events"
