"""Positions: whoever reads `position > last` misses nothing, whatever writers do or suffer."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ledger_service.audit.replay import replay
from tests.fixtures.engines import debit, grant, running_engine
from tests.fixtures.services import TEMPLATE, Cluster, Database, Process, Processes
from tests.fixtures.spender import ACCOUNTS

pytestmark = pytest.mark.slow


class Follower(threading.Thread):
    """Reads the log from its beginning, always on from the last position that it has seen."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._is_over = threading.Event()
        self.seen: list[int] = []

    def run(self) -> None:
        """Until told to end, and then once more."""
        with self._database.connect(autocommit=True) as connection:
            while True:
                is_over = self._is_over.is_set()
                last = self.seen[-1] if self.seen else 0
                rows = connection.execute(
                    "SELECT position FROM ledger.events WHERE log = 'main' AND position > %s "
                    "ORDER BY position LIMIT 1000",
                    [last],
                ).fetchall()
                self.seen += [position for (position,) in rows]
                if is_over and not rows:
                    return
                if not rows:
                    time.sleep(0.002)

    def finish(self) -> list[int]:
        """What it has seen in all."""
        self._is_over.set()
        self.join()
        return self.seen


def fund(database: Database) -> None:
    """Enough credits on every account that spenders use."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            grants = [grant(engine, 10**6, f"demo/user-{n}") for n in range(ACCOUNTS)]
            await asyncio.gather(*grants)

    asyncio.run(scenario())


def start_spender(database: Database, processes: Processes, seed: int, count: int) -> Process:
    """A writer process of its own."""
    env = {"DATABASE_URL": database.url}
    return processes.start("tests.fixtures.spender", str(seed), str(count), env=env)


def test_a_follower_misses_nothing_while_writers_are_killed(
    database: Database, processes: Processes
) -> None:
    """Four writer processes, two of them killed, 20,000 events: the follower saw each, in order."""
    fund(database)
    follower = Follower(database)
    follower.start()
    doomed = [start_spender(database, processes, seed, 10**6) for seed in (1, 2)]
    steady = [start_spender(database, processes, seed, 9_000) for seed in (3, 4)]
    time.sleep(4)
    for process in doomed:
        process.kill()
    for process in steady:
        assert process.popen.wait(timeout=120) == 0, process.text()
    seen = follower.finish()
    assert len(seen) >= 20_000
    assert seen == list(range(1, len(seen) + 1)), "gapless, and nothing was overtaken"
    assert replay(database.url).differences == []


def test_a_frozen_writer_does_not_stop_the_others(database: Database, processes: Processes) -> None:
    """A writer that stops in the middle of a batch loses its locks; others go on."""
    fund(database)
    frozen = start_spender(database, processes, 1, 10**6)
    time.sleep(1.5)
    for _ in range(3):
        frozen.freeze()
        spent = asyncio.run(_spend_everywhere(database))
        assert spent == ACCOUNTS
        frozen.thaw()
        time.sleep(0.3)
    frozen.kill()
    assert replay(database.url).differences == []


async def _spend_everywhere(database: Database) -> int:
    async def patient(n: int) -> int:
        for _ in range(10):
            outcome = await asyncio.gather(
                debit(engine, 1, f"demo/user-{n}"), return_exceptions=True
            )
            if not isinstance(outcome[0], BaseException):
                return 1
        return 0

    async with running_engine(database.url) as engine:
        return sum(await asyncio.gather(*[patient(n) for n in range(ACCOUNTS)]))


def test_nothing_acknowledged_is_lost_when_postgresql_is_killed(
    durable_postgres: Cluster,
) -> None:
    """Under a killed server each command is refused, unknown, or there after the restart."""
    database = durable_postgres.new_database(TEMPLATE)
    fund(database)
    acknowledged: set[int] = set()

    async def scenario() -> None:
        async with running_engine(database.url) as engine:

            async def client(number: int) -> None:
                until = time.monotonic() + 6
                while time.monotonic() < until:
                    done = await asyncio.gather(
                        debit(engine, 1, f"demo/user-{number}"), return_exceptions=True
                    )
                    if not isinstance(done[0], BaseException):
                        assert done[0].position is not None
                        acknowledged.add(done[0].position)
                    else:
                        await asyncio.sleep(0.05)

            async def nemesis() -> None:
                for _ in range(2):
                    await asyncio.sleep(1.2)
                    await asyncio.to_thread(durable_postgres.kill)
                    await asyncio.to_thread(durable_postgres.restart)

            await asyncio.gather(nemesis(), *[client(n) for n in range(ACCOUNTS)])

    asyncio.run(scenario())
    with database.connect() as connection:
        rows = connection.execute("SELECT position FROM ledger.events ORDER BY position").fetchall()
    positions = [position for (position,) in rows]
    assert positions == list(range(1, len(positions) + 1))
    assert acknowledged <= set(positions)
    assert len(acknowledged) > 100
    assert replay(database.url).differences == []
