"""The engine's spends per second beside raw SQL that writes the same rows.

The yardstick has everything decided beforehand: it only inserts the event rows, updates the heads
and commits, in batches as large as the engine can make them (all callers in flight).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import uvloop

from ledger_service.app import tune_interpreter
from ledger_service.domain.commands import DebitCredits, Key
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Submission
from ledger_service.store.arrays import plain_array, text_array, time_array
from ledger_service.store.vault import Vault
from tests.benchmarks.measure import Row, Turns, say
from tests.benchmarks.stand import Stand
from tests.fixtures.engines import MASTER_KEY, submission
from tests.fixtures.services import Database

CALLERS = (1, 16, 64, 256)
SUBMISSIONS_PER_SECOND_MAX = 25_000
STATE = (
    '{"posted":999999,"command":{"key":"3fa85f64-5717-4562-b3fc-2c963f66afa6-00000","http_status"'
    ':201,"reply":1,"version":12345,"posted":999999,"held":0,"available":999999,"debt":0,'
    '"credit_limit":0,"pending_expiry":0,"status":"active","unit":"credit","opened_at":'
    '"2026-01-01T00:00:00.000000Z"},"debit_id":"dbt_06h06l3q5n50hhdf04m6bl00000000o","amount":1,'
    '"slices":[["grt_06h06l3q4n50hhdf04m6bl00000000g",1]],"reason":"bench"}'
)
SNAPSHOT = "x" * 420
RAW_TABLES = """
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE raw.events (LIKE ledger.events INCLUDING ALL);
CREATE TABLE raw.heads (LIKE ledger.heads INCLUDING ALL);
GRANT USAGE ON SCHEMA raw TO ledger_app;
GRANT SELECT, INSERT, UPDATE ON raw.events, raw.heads TO ledger_app;
INSERT INTO raw.heads SELECT * FROM ledger.heads
"""
INSERT_EVENTS = """
INSERT INTO raw.events (log, position, owner, stream, version, topic, state, actor, key_space,
    key_digest, fingerprint, trace_id, occurred_at, recorded_at, last_of_command)
SELECT 'main', $1::bigint + n, owner, owner, version, 'credits_debited.v1',
    convert_to(state, 'UTF8'), 'key:bench', 'k', substring(sha256(version::text::bytea) FOR 16),
    sha256('x'), 'trace', at, at, true
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
    WITH ORDINALITY AS rows (owner, version, state, at, n)
"""
UPDATE_HEADS = """
UPDATE raw.heads AS h SET version = rows.version, recorded_at = rows.at, posted = h.posted - 1,
    snapshot = convert_to($4, 'UTF8')
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS rows (owner, version, at)
WHERE h.owner = rows.owner AND h.stream = rows.owner
"""


def engine_rows(stand: Stand, turns: Turns, accounts: int) -> list[Row]:
    """One hot account, and many; with 64 callers beside the yardstick, and with others."""
    rows = []
    for what, count, floor in (
        ("one hot account", 1, 1.0),
        (f"{accounts:,} accounts", accounts, 0.6),
    ):
        say(f"engine, {what}")
        database = stand.new_database(count)
        with database.connect_owner(autocommit=True) as connection:
            connection.execute(RAW_TABLES.encode())
        bench = EngineBench(database, count, turns.seconds)
        for callers in CALLERS:
            ours, raw = turns.of(
                lambda bench=bench, callers=callers: bench.engine_rate(callers),  # type: ignore[misc]
                lambda bench=bench, callers=callers: bench.raw_rate(callers),  # type: ignore[misc]
            )
            rows.append(
                Row(
                    group="engine",
                    what=f"spends, {what}, {callers} callers",
                    ours=ours,
                    yardstick=raw,
                    yardstick_name="raw SQL",
                    floor=floor if callers == 64 else None,
                )
            )
        stand.drop(database)
    return rows


class EngineBench:
    """Spends by many callers in flight, through one engine."""

    def __init__(self, database: Database, accounts: int, seconds: float) -> None:
        self._database = database
        self._owners = [f"demo/bench-{n}" for n in range(accounts)]
        self._seconds = seconds

    def engine_rate(self, callers: int) -> float:
        """Spends per second through the engine."""
        tune_interpreter()
        return uvloop.run(self._spend(callers))

    async def _spend(self, callers: int) -> float:
        engine = Engine(self._database.url, Vault(MASTER_KEY))
        await engine.start()
        for made in self._submissions(20):
            await engine.submit(made)
        # Made beforehand: what callers do is not the engine's.
        waiting = iter(list(self._submissions(int(self._seconds * SUBMISSIONS_PER_SECOND_MAX))))
        spent, until = 0, time.perf_counter() + self._seconds

        async def caller() -> None:
            nonlocal spent
            for made in waiting:
                await engine.submit(made)
                spent += 1
                if time.perf_counter() >= until:
                    break

        started = time.perf_counter()
        await asyncio.gather(*[caller() for _ in range(callers)])
        rate = spent / (time.perf_counter() - started)
        await engine.stop()
        return rate

    def _submissions(self, count: int) -> Iterator[Submission]:
        chance, run = random.Random(1), time.monotonic_ns()
        for number in range(count):
            key = Key("k", f"bench-{run}-{number}")
            owner = chance.choice(self._owners)
            yield submission(DebitCredits(owner=owner, amount=1, reason="bench", key=key))

    def raw_rate(self, batch: int) -> float:
        """Spends' rows written per second by the yardstick."""
        with psycopg.connect(
            self._database.url, autocommit=True, cursor_factory=psycopg.RawCursor
        ) as connection:
            row = connection.execute(
                b"SELECT coalesce(max(position), 0) FROM raw.events"
            ).fetchone()
            assert row is not None
            chance, position, written = random.Random(2), row[0], 0
            started = time.perf_counter()
            while (elapsed := time.perf_counter() - started) < self._seconds:
                owners = [chance.choice(self._owners) for _ in range(batch)]
                write_raw(connection, owners, position)
                position += len(owners)
                written += len(owners)
        return written / elapsed


def write_raw(connection: psycopg.Connection, owners: list[str], base: int) -> None:
    """One batch: an event per owner named, an update per head."""
    heads, version = sorted(set(owners)), base + 1_000_000
    at = datetime.now(UTC)
    events = (
        base,
        text_array(owners),
        plain_array(range(version, version + len(owners))),
        text_array([STATE] * len(owners)),
        time_array([at] * len(owners)),
    )
    updates = (
        text_array(heads),
        plain_array([version] * len(heads)),
        time_array([at] * len(heads)),
        SNAPSHOT,
    )
    with connection.pipeline():
        connection.execute(b"BEGIN")
        connection.execute(INSERT_EVENTS.encode(), events, prepare=True)
        connection.execute(UPDATE_HEADS.encode(), updates, prepare=True)
        connection.execute(b"COMMIT")
