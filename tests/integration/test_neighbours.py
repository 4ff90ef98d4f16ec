"""Commands share batches; what is wrong with one of them is nothing to the others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ledger_service.engine.engine import Engine
from tests.fixtures.engines import debit, grant, running_engine
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

BAD, GOOD = "demo/bad", [f"demo/good-{n}" for n in range(20)]

NEWER = "UPDATE ledger.heads SET snapshot_version = 99 WHERE owner = 'demo/bad'"
BROKEN = "UPDATE ledger.heads SET snapshot = 'nonsense' WHERE owner = 'demo/bad'"


@pytest.mark.parametrize(("damage", "error"), [(NEWER, "UnknownSnapshot"), (BROKEN, "LedgerError")])
def test_an_unreadable_account_fails_alone(database: Database, damage: str, error: str) -> None:
    """A head of newer code, or a broken one, is refused; its batch's other accounts are served."""

    async def spend(engine: Engine, owner: str) -> str:
        (outcome,) = await asyncio.gather(debit(engine, 1, owner), return_exceptions=True)
        return f"{'bad' if owner == BAD else 'good'} {type(outcome).__name__}"

    async def scenario() -> Counter[str]:
        async with running_engine(database.url) as engine:
            await asyncio.gather(*[grant(engine, 100, owner) for owner in [BAD, *GOOD]])
        with database.connect() as connection:
            connection.execute(damage.encode())
        async with running_engine(database.url) as engine:  # one that has not seen it whole
            spends = [spend(engine, owner) for _ in range(5) for owner in [*GOOD, BAD, BAD]]
            return Counter(await asyncio.gather(*spends))

    assert asyncio.run(scenario()) == {"good Done": 100, f"bad {error}": 10}
