"""`python -m tests.benchmarks.projections`: does the follower keep up, what does the past cost?

One account takes half of all spends, so that it has snapshots; the others share the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from deploy.run.postgres import DURABLE
from ledger_service.audit.replay import replay
from ledger_service.projections.follower import Follower
from ledger_service.store.history import BEFORE_ALL, HistoryFilter
from ledger_service.store.pool import ReadPool
from ledger_service.store.reads import Reads
from ledger_service.store.vault import Vault
from tests.fixtures import services
from tests.fixtures.engines import MASTER_KEY, debit, grant, running_engine
from tests.fixtures.services import TEMPLATE, Cluster, Database

_IN_FLIGHT = 256
_READS = 200
HOT = "demo/hot"


def main() -> None:
    """Write, follow, travel, replay; print what each took."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.projections")
    parser.add_argument("--events", type=int, default=60_000)
    options = parser.parse_args()
    services.TEST_SETTINGS.update(DURABLE | {"autovacuum": "on"})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder)
        try:
            _measure(cluster.new_database(TEMPLATE), options.events)
        finally:
            cluster.process.stop()


def _measure(database: Database, events: int) -> None:
    started = time.perf_counter()
    asyncio.run(_write(database, events))
    _print("spends written", events, started)
    follower = Follower(database.url)
    started = time.perf_counter()
    while follower.take_stretch():
        pass
    _print("events projected", events, started)
    started = time.perf_counter()
    snapshots = 0
    while taken := follower.take_snapshots():
        snapshots += taken
    _print("snapshots taken", snapshots, started)
    follower.close()
    asyncio.run(_read(database))
    started = time.perf_counter()
    report = replay(database.url)
    assert report.differences == []
    _print("events replayed and compared", report.events, started)


async def _write(database: Database, events: int) -> None:
    others = [f"demo/user-{n}" for n in range(500)]
    async with running_engine(database.url) as engine:
        for owner in (HOT, *others):
            await grant(engine, 10**9, owner)
        for start in range(0, events, _IN_FLIGHT):
            owners = [HOT if n % 2 else others[(start + n) % 500] for n in range(_IN_FLIGHT)]
            references = [f"order-{start + n}" for n in range(_IN_FLIGHT)]
            given = zip(owners, references, strict=True)
            await asyncio.gather(*[debit(engine, 1, o, reference=r) for o, r in given])


async def _read(database: Database) -> None:
    pool = ReadPool(database.url)
    await pool.open()
    reads, chance = Reads(pool, Vault(MASTER_KEY)), random.Random(1)
    head = replay(database.url).head
    took: dict[str, list[float]] = {"past account": [], "statement page": [], "filtered page": []}
    for _ in range(_READS):
        started = time.perf_counter()
        moment = await reads.past.at_position(HOT, chance.randint(2_000, head))
        assert moment is not None
        await reads.past.account(HOT, moment)
        took["past account"].append(time.perf_counter() - started)
        started = time.perf_counter()
        await reads.history.page(HOT, HistoryFilter(), BEFORE_ALL, 50)
        took["statement page"].append(time.perf_counter() - started)
        started = time.perf_counter()
        wanted = HistoryFilter(topics=("credits_granted.v1", "credits_debited.v1"))
        await reads.history.page(HOT, wanted, chance.randint(1_000, 20_000), 50)
        took["filtered page"].append(time.perf_counter() - started)
    await pool.close()
    for what, seconds in took.items():
        slow = statistics.quantiles(seconds, n=100)[-1]
        middle = statistics.median(seconds)
        print(f"{what:30} p50 {middle * 1000:7.1f} ms   p99 {slow * 1000:7.1f} ms")


def _print(what: str, count: int, started: float) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:30} {count:9,} {count / seconds:12,.0f}/s")


if __name__ == "__main__":
    main()
