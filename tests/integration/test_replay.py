"""A replay of the log ends where the live ledger is, and tells when it does not."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from ledger_service.audit.replay import replay
from ledger_service.domain.commands import TransferCredits
from ledger_service.domain.events.account import CreditsDebited
from ledger_service.engine.engine import Engine
from ledger_service.errors import Rejected
from tests.fixtures.engines import debit, grant, key, refund, running_engine, submission
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


async def _random_life(engine: Engine, owner: str, seed: int) -> None:
    chance = random.Random(seed)
    debits: list[str] = []
    for _ in range(120):
        what = chance.random()
        try:
            if what < 0.75:
                expires = datetime.now(UTC) + timedelta(milliseconds=chance.randint(50, 5_000))
                await grant(
                    engine,
                    chance.randint(1, 20),
                    owner,
                    expires_at=expires if chance.random() < 0.3 else None,
                    priority=chance.randint(0, 100),
                )
            elif what < 0.9 or not debits:
                done = await debit(engine, chance.randint(1, 30), owner)
                assert done.answer is not None
                assert isinstance(done.answer.event, CreditsDebited)
                debits.append(done.answer.event.debit_id)
            else:
                await refund(engine, chance.choice(debits), chance.randint(1, 10), owner=owner)
        except Rejected:
            continue


def test_a_replay_ends_where_the_ledger_is(database: Database) -> None:
    """Lots beyond the head, lots with nothing left, expiry and grace included."""

    async def scenario() -> None:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            lives = [_random_life((one, other)[n % 2], f"demo/user-{n}", n) for n in range(8)]
            await asyncio.gather(*lives)

    asyncio.run(scenario())
    report = replay(database.url)
    assert report.differences == []
    assert report.events > 200
    assert report.accounts == 8
    shared = replay(database.url, shares=5)
    assert shared.shares == 4
    assert replace(shared, seconds=report.seconds, shares=1) == report
    with database.connect() as connection:
        row = connection.execute("SELECT count(*) FROM ledger.lots WHERE place = 'o'").fetchone()
    assert row is not None
    assert row[0] > 0, "the scenario must reach beyond the head"


def test_a_replay_finds_a_balance_that_the_log_does_not_explain(database: Database) -> None:
    """A head changed behind the ledger's back is reported."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)

    asyncio.run(scenario())
    with database.connect() as connection:
        connection.execute("UPDATE ledger.heads SET posted = posted + 1")
    assert len(replay(database.url).differences) == 1
    assert len(replay(database.url, shares=4).differences) == 1


def test_shares_see_what_went_from_one_account_to_another(database: Database) -> None:
    """What accounts of different shares have sent and received adds up over all of them."""
    owners = [f"demo/user-{number}" for number in range(8)]

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            for owner in owners:
                await grant(engine, 100, owner)
            for number, owner in enumerate(owners):
                to_owner = owners[(number + 1) % len(owners)]
                await engine.submit(
                    submission(
                        TransferCredits(owner=owner, key=key(), to_owner=to_owner, amount=10)
                    )
                )

    asyncio.run(scenario())
    report = replay(database.url, shares=2)
    assert report.differences == []
    assert replace(report, seconds=0, shares=1) == replace(replay(database.url), seconds=0)


def test_a_replay_says_where_the_log_has_a_gap(database: Database) -> None:
    """An event that is gone is missed by its position."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            await debit(engine, 1)
            await debit(engine, 2)

    asyncio.run(scenario())
    with database.connect_owner() as owner:
        owner.execute("ALTER TABLE ledger.events DISABLE TRIGGER events_are_immutable")
        owner.execute(b"DELETE FROM ledger.events WHERE position = 3")
    for shares in (1, 2):
        last = replay(database.url, shares=shares).differences[-1]
        assert last == "the log has 3 events up to 4, 3 is missing; its head says 4"


@pytest.mark.parametrize(
    "change",
    [
        'state = \'{"not": "an event"}\' WHERE version = 3',
        "state = convert_to(replace(convert_from(state, 'UTF8'), 'grt_', 'grx_'), 'UTF8')"
        " WHERE version = 3",
        "topic = 'account_opened.v1', state = (SELECT state FROM ledger.events WHERE version = 1)"
        " WHERE version = 3",
        "topic = 'from_the_future.v1' WHERE version = 3",
        "position = 9 WHERE position = 4",
    ],
)
def test_a_replay_survives_a_log_that_was_tampered_with(database: Database, change: str) -> None:
    """Whatever stands in the log, a replay goes on and says where it no longer makes sense."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            await debit(engine, 1)
            await debit(engine, 2)

    asyncio.run(scenario())
    with database.connect_owner() as owner:
        owner.execute("ALTER TABLE ledger.events DISABLE TRIGGER events_are_immutable")
        owner.execute(f"UPDATE ledger.events SET {change}".encode())
    assert replay(database.url).differences
