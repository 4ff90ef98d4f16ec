"""Two accounts in one command, while everything else goes on: transfers, merges, clawbacks."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger_service.audit.replay import replay
from ledger_service.domain.commands import (
    CaptureHold,
    ClawBack,
    PlaceHold,
    ReleaseHold,
    TransferCredits,
)
from ledger_service.domain.events.account import CreditsGranted
from ledger_service.domain.events.holds import HoldPlaced
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Done
from ledger_service.errors import Rejected
from tests.fixtures.engines import debit, grant, key, running_engine, submission
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

ONE, OTHER, THIRD = "demo/one", "demo/other", "demo/third"


async def transfer(
    engine: Engine, owner: str, to: str, amount: int | None, *, is_merge: bool = False
) -> Done:
    """Move credits under a key of its own."""
    command = TransferCredits(owner=owner, to_owner=to, amount=amount, is_merge=is_merge, key=key())
    return await engine.submit(submission(command))


async def hold(engine: Engine, owner: str, amount: int) -> str:
    """Set credits aside; returns the hold's id."""
    done = await engine.submit(submission(PlaceHold(owner=owner, amount=amount, key=key())))
    assert done.answer is not None
    assert isinstance(done.answer.event, HoldPlaced)
    return done.answer.event.hold.hold_id


def balances(database: Database) -> dict[str, tuple[int, int, str]]:
    """Posted, held and status of every account."""
    with database.connect() as connection:
        rows = connection.execute("SELECT stream, posted, held, status FROM ledger.heads")
        return {stream: (posted, held, status) for stream, posted, held, status in rows}


def test_transfers_in_both_directions_at_once_neither_lock_nor_lose(database: Database) -> None:
    """Two engines move credits to and fro as fast as they can: the sum stays, nothing hangs."""

    async def scenario() -> None:
        async with running_engine(database.url) as first, running_engine(database.url) as second:
            await grant(first, 1_000, ONE)
            await grant(first, 1_000, OTHER)
            chance = random.Random(3)
            moves = []
            for number in range(200):
                pair = (ONE, OTHER) if number % 2 else (OTHER, ONE)
                engine = (first, second)[chance.randrange(2)]
                moves.append(transfer(engine, *pair, chance.randint(1, 20)))
            outcomes = await asyncio.gather(*moves, return_exceptions=True)
            assert all(isinstance(o, Done | Rejected) for o in outcomes), outcomes
            assert sum(isinstance(o, Done) for o in outcomes) > 150

    asyncio.run(scenario())
    found = balances(database)
    assert found[ONE][0] + found[OTHER][0] == 2_000
    assert replay(database.url).differences == []


def test_a_merge_amid_spends_and_holds_ends_with_everything_in_one_account(
    database: Database,
) -> None:
    """Whatever was spent, held or freed before and after the merge, no credit stays behind."""

    async def spend(engine: Engine, owner: str) -> Any:
        try:
            return await debit(engine, 3, owner)
        except Rejected as refused:
            return refused

    async def set_aside(engine: Engine) -> str | None:
        try:
            return await hold(engine, ONE, 5)
        except Rejected:
            return None

    async def scenario() -> None:
        async with running_engine(database.url) as first, running_engine(database.url) as second:
            await grant(first, 1_000, ONE)
            await grant(first, 50, OTHER)
            holds = [await set_aside(first) for _ in range(10)]
            spends = asyncio.gather(*[spend((first, second)[n % 2], ONE) for n in range(40)])
            late = asyncio.gather(*[set_aside(second) for _ in range(10)])
            await transfer(first, ONE, OTHER, None, is_merge=True)
            holds += await late
            await spends
            await asyncio.gather(*[end(first, n, h) for n, h in enumerate(holds) if h])

    async def end(engine: Engine, number: int, hold_id: str) -> None:
        kind = CaptureHold if number % 2 else ReleaseHold
        await engine.submit(submission(kind(owner=ONE, hold_id=hold_id, key=key())))

    asyncio.run(scenario())
    found = balances(database)
    assert found[ONE] == (0, 0, "merged")
    report = replay(database.url)
    assert report.differences == []
    assert found[OTHER][0] == report.credits_granted - report.credits_spent


def test_a_clawback_follows_credits_over_two_merges(database: Database) -> None:
    """From the account that was paid for, through the second, to the third."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            granted = await grant(engine, 100, ONE)
            await debit(engine, 30, ONE)
            await grant(engine, 1, OTHER)
            await grant(engine, 1, THIRD)
            await transfer(engine, ONE, OTHER, None, is_merge=True)
            await transfer(engine, OTHER, THIRD, None, is_merge=True)
            assert granted.answer is not None
            assert isinstance(granted.answer.event, CreditsGranted)
            command = ClawBack(
                owner=ONE,
                grant_id=granted.answer.event.grant_id,
                reference="refund-1",
                as_of=datetime.now(UTC),
                fraction_millis=1000,
                key=key(),
            )
            await engine.submit(submission(command))

    asyncio.run(scenario())
    assert balances(database) == {
        ONE: (0, 0, "merged"),
        OTHER: (0, 0, "merged"),
        THIRD: (102 - 30 - 100, 0, "active"),
    }
    assert replay(database.url).differences == []
