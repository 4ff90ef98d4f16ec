"""How fast an auditor folds the log, beside merely decoding it."""

from __future__ import annotations

import asyncio
import time

import psycopg

from ledger_service.audit.replay import replay
from ledger_service.domain.events import decode
from tests.benchmarks.measure import Row, Turns, say
from tests.benchmarks.stand import Stand
from tests.fixtures.engines import debit, running_engine
from tests.fixtures.services import Database

EVENTS = 60_000
ACCOUNTS = 2_000


def replay_rows(stand: Stand, turns: Turns) -> list[Row]:
    """Events per second, everything verified."""
    say(f"replay of {EVENTS:,} events")
    database = stand.new_database(ACCOUNTS)
    asyncio.run(_spend(database))

    def ours() -> float:
        report = replay(database.url)
        assert report.differences == []
        return report.events / report.seconds

    rate, decoded = turns.of(ours, lambda: _decode_rate(database))
    stand.drop(database)
    return [
        Row(
            group="replay",
            what="events folded, every equation and row verified",
            ours=rate,
            yardstick=decoded,
            yardstick_name="decode only",
        )
    ]


async def _spend(database: Database) -> None:
    async with running_engine(database.url) as engine:
        for start in range(0, EVENTS, 2_000):
            owners = [f"demo/bench-{(start + n) % ACCOUNTS}" for n in range(2_000)]
            await asyncio.gather(*[debit(engine, 1, owner) for owner in owners])


def _decode_rate(database: Database) -> float:
    started, count = time.perf_counter(), 0
    with psycopg.connect(database.url) as connection, connection.cursor("decoding") as cursor:
        cursor.itersize = 2_000
        cursor.execute(b"SELECT topic, state FROM ledger.events ORDER BY position")
        for topic, state in cursor:
            decode(topic, state)
            count += 1
    return count / (time.perf_counter() - started)
