"""How fast an auditor folds the log, beside merely decoding it."""

from __future__ import annotations

import time
from functools import partial

import psycopg

from ledger_service.audit.replay import replay
from ledger_service.domain.events import decode
from tests.benchmarks.filling import fill
from tests.benchmarks.measure import Row, Turns, say
from tests.benchmarks.stand import Stand
from tests.fixtures.services import Database

EVENTS = 400_000
ACCOUNTS = 20_000


def replay_rows(stand: Stand, turns: Turns) -> list[Row]:
    """Events per second, everything verified."""
    events = EVENTS if turns.rounds > 1 else EVENTS // 10
    say(f"replay of {events:,} events")
    database = stand.new_database()
    fill(database, ACCOUNTS, events)
    alone, shared, decoded = turns.of(
        partial(_replay_rate, database, 1),
        partial(_replay_rate, database, None),
        partial(_decode_rate, database),
    )
    stand.drop(database)
    row = Row(
        group="replay",
        what="events folded and verified, one process",
        ours=alone,
        yardstick=decoded,
        yardstick_name="decode only, one process",
    )
    every = "events folded and verified, a process per processor"
    return [row, Row(group="replay", what=every, ours=shared, floor=80_000)]


def _replay_rate(database: Database, shares: int | None) -> float:
    report = replay(database.url, shares=shares)
    assert report.differences == []
    return report.events / report.seconds


def _decode_rate(database: Database) -> float:
    started, count = time.perf_counter(), 0
    with psycopg.connect(database.url) as connection, connection.cursor("decoding") as cursor:
        cursor.itersize = 2_000
        cursor.execute(b"SELECT topic, state FROM ledger.events ORDER BY position")
        for topic, state in cursor:
            decode(topic, state)
            count += 1
    return count / (time.perf_counter() - started)
