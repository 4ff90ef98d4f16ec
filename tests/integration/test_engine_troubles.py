"""The engine when the database answers badly, or not at all: never twice, never untrue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger_service.engine.submission import Done
from ledger_service.errors import Unavailable
from tests.fixtures.engines import OWNER, debit, grant, key, running_engine
from tests.fixtures.lossy_line import lossy_line
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


def rows(database: Database, query: str) -> list[Any]:
    """What a query says, as the serving role sees it."""
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("lost", [1, 2])
def test_a_commit_whose_answer_is_lost_counts_once(database: Database, lost: int) -> None:
    """The writer looks its batch up by the keys: every caller hears what was committed."""

    async def scenario(url: str) -> list[Done]:
        async with running_engine(url) as engine:
            await grant(engine, 100)
            line.lose_commits(lost)
            repeated = key()
            return await asyncio.gather(
                *[debit(engine, 1) for _ in range(20)],
                grant(engine, 5, "demo/somebody-new"),
                *[debit(engine, 1, key=repeated) for _ in range(3)],
            )

    with lossy_line(database.url) as line:
        outcomes = asyncio.run(scenario(line.lossy_url))
    assert [outcome.is_replay for outcome in outcomes] == [False] * 22 + [True] * 2
    assert rows(database, "SELECT owner, posted FROM ledger.heads ORDER BY owner") == [
        ("demo/somebody-new", 5),
        (OWNER, 79),
    ]
    assert rows(database, "SELECT count(*), max(position) FROM ledger.events") == [(25, 25)]
    debited = [o.answer.position for o in outcomes if o.answer is not None]
    assert len(debited) == 24
    assert len(set(debited)) == 22


def test_a_database_that_takes_no_writes_is_unavailable(database: Database) -> None:
    """A server that has become read-only fails nobody for good: nothing was applied, come back."""
    switch = f"ALTER DATABASE {database.name} SET default_transaction_read_only = "

    async def scenario() -> tuple[list[Done | BaseException], Done]:
        async with running_engine(database.url) as engine:
            with database.connect_owner(autocommit=True) as owner:
                owner.execute(f"{switch} on".encode())
                tries = [grant(engine, 1, f"demo/user-{n}") for n in range(8)]
                refused = await asyncio.gather(*tries, return_exceptions=True)
                owner.execute("SET default_transaction_read_only = off")
                owner.execute(f"{switch} off".encode())
            return refused, await grant(engine, 1)

    refused, granted = asyncio.run(scenario())
    assert {type(outcome).__name__ for outcome in refused} == {"DatabaseUnfit"}
    assert all(isinstance(outcome, Unavailable) for outcome in refused)
    assert granted.position == 2
