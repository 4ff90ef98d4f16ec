"""What older code kept beside the events is not believed: it is folded from them again."""

from __future__ import annotations

import asyncio

import pytest

from ledger_service.audit.replay import replay
from ledger_service.domain import commands
from ledger_service.domain.account.state import HEAD_LOTS_MAX
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import Policy
from ledger_service.store.heads import SNAPSHOT_VERSION
from ledger_service.store.policies import read_policy
from ledger_service.store.pool import ReadPool
from ledger_service.store.reads import Reads
from ledger_service.store.vault import Vault
from tests.fixtures.engines import MASTER_KEY, OWNER, debit, grant, running_engine, submission
from tests.fixtures.lives import Lives
from tests.fixtures.services import Database
from tests.integration.test_projections import OWNERS, followed

pytestmark = pytest.mark.slow


def age(database: Database) -> None:
    """Make every head one of the version before, which nobody can read any more."""
    with database.connect() as connection:
        connection.execute(
            "UPDATE ledger.heads SET snapshot_version = %s, snapshot = 'long ago'",
            (SNAPSHOT_VERSION - 1,),
        )


@pytest.mark.parametrize("is_followed", [True, False])
def test_an_old_head_is_folded_again(database: Database, is_followed: bool) -> None:
    """Reading and spending go on, with snapshots or without, and the replay agrees."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            for n in range(HEAD_LOTS_MAX + 10):
                await grant(engine, 10, priority=n)
            await debit(engine, 55)
            if is_followed:
                followed(database, snapshot_every=11)
            age(database)
            assert await posted(database) == 10 * (HEAD_LOTS_MAX + 10) - 55
            await debit(engine, 205)
            age(database)
            await debit(engine, 10 * (HEAD_LOTS_MAX + 10) - 55 - 205)
            assert await posted(database) == 0

    asyncio.run(scenario())
    assert replay(database.url).differences == []


async def posted(database: Database) -> int:
    """The balance, read from the head alone and with all lots."""
    pool = ReadPool(database.url)
    await pool.open()
    reads = Reads(pool, Vault(MASTER_KEY))
    head, whole = await reads.account(OWNER), await reads.whole_account(OWNER)
    lots = await reads.lots(OWNER, None, 1_000)
    await pool.close()
    assert head is not None
    assert whole is not None
    assert lots is not None
    assert sum(lot.remaining for lot in lots.lots) == head.state.posted == whole.state.posted
    return head.state.posted


def test_a_whole_life_goes_on_over_old_heads(database: Database) -> None:
    """Whatever commands come, heads that are made old in between change nothing."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            lives = Lives(engine, 4, OWNERS)
            for _ in range(8):
                await lives.live(60)
                followed(database, snapshot_every=20)
                age(database)

    asyncio.run(scenario())
    assert replay(database.url).differences == []


def test_an_old_policy_is_read_from_its_event(database: Database) -> None:
    """A policy decides as it was set, whoever wrote its head."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            policy = Policy(repay_debt=False)
            owner = policy_owner("demo")
            await engine.submit(submission(commands.SetPolicy(owner=owner, policy=policy)))
            age(database)
            pool = ReadPool(database.url)
            await pool.open()
            found = await read_policy(pool, "demo")
            await pool.close()
            assert found is not None
            assert found.policy == policy
            await grant(engine, 5)

    asyncio.run(scenario())
