"""The engine's spends per second beside raw SQL that writes the same rows.

The yardstick has everything decided beforehand: it only inserts the event rows, updates the
heads and commits, in batches as large as the engine can make them (all callers in flight).
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime

import psycopg

from ledger_service.domain.commands import DebitCredits, Key
from ledger_service.engine.engine import Engine
from ledger_service.store.arrays import plain_array, text_array, time_array
from ledger_service.store.vault import Vault
from tests.fixtures.engines import MASTER_KEY, grant, submission
from tests.fixtures.services import Database

STATE = (
    '{"posted":999999,"command":{"key":"3fa85f64-5717-4562-b3fc-2c963f66afa6-00000","http_status"'
    ':201,"reply":1,"version":12345,"posted":999999,"held":0,"available":999999,"debt":0,'
    '"credit_limit":0,"pending_expiry":0,"status":"active","unit":"credit","opened_at":'
    '"2026-01-01T00:00:00.000000Z"},"debit_id":"dbt_06h06l3q5n50hhdf04m6bl00000000o","amount":1,'
    '"slices":[["grt_06h06l3q4n50hhdf04m6bl00000000g",1]],"reason":"bench"}'
)
SNAPSHOT = "x" * 420
RAW_TABLES = """
CREATE SCHEMA raw;
CREATE TABLE raw.events (LIKE ledger.events INCLUDING ALL);
CREATE TABLE raw.heads (LIKE ledger.heads INCLUDING ALL);
GRANT USAGE ON SCHEMA raw TO ledger_app;
GRANT SELECT, INSERT, UPDATE ON raw.events, raw.heads TO ledger_app
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


class EngineBench:
    """Spends by many callers in flight, through one engine."""

    def __init__(self, database: Database, accounts: int, callers: int) -> None:
        self._database = database
        self._owners = [f"demo/bench-{n}" for n in range(accounts)]
        self._callers = callers

    def prepare(self) -> None:
        """Accounts with credits, for the engine and for the yardstick."""
        asyncio.run(self._fund())
        with self._database.connect_owner(autocommit=True) as connection:
            connection.execute(b"DROP SCHEMA IF EXISTS raw CASCADE")
            connection.execute(RAW_TABLES.encode())
            connection.execute(b"INSERT INTO raw.heads SELECT * FROM ledger.heads")

    async def _fund(self) -> None:
        async with asyncio.timeout(600):
            engine = await self._start()
            for start in range(0, len(self._owners), 256):
                owners = self._owners[start : start + 256]
                await asyncio.gather(*[grant(engine, 10**9, owner) for owner in owners])
            await engine.stop()

    async def _start(self) -> Engine:
        engine = Engine(self._database.url, Vault(MASTER_KEY))
        await engine.start()
        return engine

    def engine_rate(self, seconds: float) -> float:
        """Spends per second through the engine."""
        return asyncio.run(self._spend(seconds))

    async def _spend(self, seconds: float) -> float:
        engine = await self._start()
        spent, chance = 0, random.Random(1)
        until = time.perf_counter() + seconds
        run = time.monotonic_ns()

        async def caller(number: int) -> None:
            nonlocal spent
            count = 0
            while time.perf_counter() < until:
                count += 1
                key = Key("k", f"bench-{run}-{number}-{count}")
                owner = chance.choice(self._owners)
                command = DebitCredits(owner=owner, amount=1, reason="bench", key=key)
                await engine.submit(submission(command))
                spent += 1

        started = time.perf_counter()
        await asyncio.gather(*[caller(number) for number in range(self._callers)])
        rate = spent / (time.perf_counter() - started)
        await engine.stop()
        return rate

    def raw_rate(self, seconds: float) -> float:
        """Rows written per second by the yardstick."""
        with psycopg.connect(
            self._database.url, autocommit=True, cursor_factory=psycopg.RawCursor
        ) as connection:
            row = connection.execute(
                b"SELECT coalesce(max(position), 0) FROM raw.events"
            ).fetchone()
            assert row is not None
            chance, position, written = random.Random(2), row[0], 0
            started = time.perf_counter()
            while (elapsed := time.perf_counter() - started) < seconds:
                owners = [chance.choice(self._owners) for _ in range(self._callers)]
                _write_raw(connection, owners, position)
                position += len(owners)
                written += len(owners)
        return written / elapsed


def _write_raw(connection: psycopg.Connection, owners: list[str], base: int) -> None:
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
