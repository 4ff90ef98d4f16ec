"""Dry runs within the engine: decided in their turn among others, and never written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from ledger_service.domain.commands import Command, DebitCredits, GrantCredits
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Done
from ledger_service.errors import Rejected
from tests.fixtures.engines import OWNER, debit, grant, key, running_engine, submission
from tests.fixtures.lossy_line import lossy_line
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


async def dry(engine: Engine, command: Command, **more: Any) -> Done:
    """Try a command out."""
    return await engine.submit(replace(submission(command, **more), is_dry_run=True))


def spending(amount: int) -> DebitCredits:
    """A spend under a key that is not looked at."""
    return DebitCredits(owner=OWNER, key=key("the-same"), amount=amount, reason="test")


def test_a_dry_run_stands_in_line_and_changes_nothing(database: Database) -> None:
    """It sees what comes before it; what comes after does not see it."""

    async def scenario() -> tuple[Done | BaseException, ...]:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            return await asyncio.gather(
                dry(engine, spending(100)),
                debit(engine, 60),
                dry(engine, spending(60)),
                dry(engine, spending(40)),
                debit(engine, 40),
                return_exceptions=True,
            )

    first, spent, refused, rest, last = asyncio.run(scenario())
    assert isinstance(first, Done)
    assert first.planned == ((OWNER, 3),)
    assert isinstance(spent, Done)
    assert spent.planned is None
    assert isinstance(refused, Rejected)
    assert refused.fields["available"] == 40
    assert isinstance(rest, Done)
    assert rest.planned == ((OWNER, 4),)
    assert isinstance(last, Done)
    assert last.answer is not None
    assert last.answer.version == 4
    with database.connect() as connection:
        found = connection.execute("SELECT count(*), max(position) FROM ledger.events").fetchone()
    assert found == (4, 4)


def test_nothing_of_a_dry_run_is_sealed(database: Database) -> None:
    """Not even a key for a new owner's vault, whoever else is in the batch."""
    private = {"metadata": {"a": 1}}
    command = GrantCredits(
        owner="demo/nobody-yet", key=key(), amount=5, source="promo", priority=50
    )

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await asyncio.gather(
                grant(engine, 1), dry(engine, command, private=private), grant(engine, 1)
            )

    asyncio.run(scenario())
    with database.connect() as connection:
        for table in ("vault", "subject_keys"):
            query = f"SELECT count(*) FROM ledger.{table}".encode()
            assert connection.execute(query).fetchone() == (0,)


def test_a_lost_commit_leaves_a_dry_run_certain(database: Database) -> None:
    """It is decided again after what was committed, and never has an unknown outcome."""

    async def scenario(url: str) -> tuple[Done, Done]:
        async with running_engine(url) as engine:
            await grant(engine, 100)
            line.lose_commits(1)
            return await asyncio.gather(debit(engine, 60), dry(engine, spending(40)))

    with lossy_line(database.url) as line:
        spent, planned = asyncio.run(scenario(line.lossy_url))
    assert spent.planned is None
    assert planned.planned == ((OWNER, 4),)
