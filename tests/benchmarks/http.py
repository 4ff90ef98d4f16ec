"""The API beside servers that do nothing, under loads of several kinds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import psycopg
from msgspec.structs import replace

from tests.benchmarks.client import apply, peak
from tests.benchmarks.engine import CALLERS, RAW_TABLES, EngineBench
from tests.benchmarks.load import Figures, Load
from tests.benchmarks.measure import Row, Turns, cpu_seconds, resident_mib, say
from tests.benchmarks.stand import Stand, key_of, port_of, size_bytes
from tests.fixtures.live import LiveLedger
from tests.fixtures.services import Database

ACCOUNTS = 10_000
PROCESSES = (1, 2, 4)
COST_TURNS = 8
SHARE_OF_PEAK = 0.7
"""Where an open load measures latencies: below the peak, where nothing piles up by itself."""


def http_rows(stand: Stand, turns: Turns) -> list[Row]:
    """Everything about single requests, then batches."""
    database = stand.new_database(ACCOUNTS)
    ledger = stand.serve(database)
    bench = HttpBench(stand, ledger, database, turns)
    rows = [
        *bench.beside_yardsticks(),
        *bench.by_callers(),
        *bench.mixes(),
        bench.batches(),
        *bench.costs(),
        bench.with_projections(),
    ]
    ledger.process.stop()
    rows += _by_processes(stand, database, turns)
    stand.drop(database)
    return rows


class HttpBench:
    """One ledger process over one database."""

    def __init__(self, stand: Stand, ledger: LiveLedger, database: Database, turns: Turns) -> None:
        self._stand = stand
        self._ledger = ledger
        self._database = database
        self._turns = turns
        self.load = Load(
            port=port_of(ledger), key=key_of(ledger), accounts=ACCOUNTS, seconds=turns.seconds
        )

    def beside_yardsticks(self) -> list[Row]:
        """The most that can be had by 64 connections."""
        noop = self._stand.start_yardstick("noop", key_of(self._ledger))
        bare = self._stand.start_yardstick("bare", key_of(self._ledger))
        rows = []
        for kind, what, floor in (
            ("spend", "one spend per request", 0.7),
            ("balance", "balance read", 0.5),
        ):
            say(f"HTTP, {what}")
            load = replace(self.load, kind=kind)
            ours, framework, server = self._turns.of(
                lambda load=load: peak(load).rate,  # type: ignore[misc]
                lambda load=load: peak(replace(load, port=noop)).rate,  # type: ignore[misc]
                lambda load=load: peak(replace(load, port=bare)).rate,  # type: ignore[misc]
            )
            open_load = replace(load, rate=SHARE_OF_PEAK * ours)
            p50, p99 = self._latencies(open_load)
            rows += [
                Row(
                    group="HTTP",
                    what=f"{what}, 64 connections",
                    ours=ours,
                    yardstick=framework,
                    yardstick_name="Litestar no-op",
                    floor=floor,
                    ms_p50=p50,
                    ms_p99=p99,
                ),
                Row(
                    group="HTTP",
                    what=f"{what}, 64 connections",
                    ours=ours,
                    yardstick=server,
                    yardstick_name="raw ASGI no-op",
                ),
            ]
        return rows

    def by_callers(self) -> list[Row]:
        """Rate and latency, by how many ask at once."""
        rows = []
        for callers in CALLERS:
            say(f"HTTP, {callers} callers")
            seen = self._apply(replace(self.load, connections=callers))
            rows.append(_row(f"spends, {callers} callers, each waits for its answer", seen))
        return rows

    def mixes(self) -> list[Row]:
        """What is not the plainest of loads, beside the plainest."""
        mixes = {
            "spends, one hot account": replace(self.load, pick="hot"),
            "spends, accounts by Zipf's law": replace(self.load, pick="zipf"),
            "spends, 20 % refused": replace(self.load, refused_share=0.2),
            "spends, 5 % repeated": replace(self.load, replayed_share=0.05),
        }
        rows = []
        for what, load in mixes.items():
            say(f"HTTP, {what}")
            ours, plain = self._turns.of(
                lambda load=load: apply(load).good_rate,  # type: ignore[misc]
                lambda: apply(self.load).good_rate,
            )
            row = Row(
                group="HTTP", what=what, ours=ours, yardstick=plain, yardstick_name="plain spends"
            )
            rows.append(row)
        return rows

    def batches(self) -> Row:
        """Commands per second, 100 per request, beside raw SQL in batches of 100."""
        say("HTTP, batches of 100")
        with self._database.connect_owner(autocommit=True) as connection:
            connection.execute(RAW_TABLES.encode())
        raw = EngineBench(self._database, ACCOUNTS, self._turns.seconds)
        load = replace(self.load, kind="batch", connections=8)

        def commands() -> float:
            figures = apply(load)
            done = figures.commands.get("201", 0)
            assert done == sum(figures.commands.values()), figures.commands
            return done / load.seconds

        ours, yardstick = self._turns.of(commands, lambda: raw.raw_rate(100))
        return Row(
            group="HTTP",
            what="spends in batches of 100, 8 connections",
            ours=ours,
            yardstick=yardstick,
            yardstick_name="raw SQL",
            floor=0.4,
        )

    def costs(self) -> list[Row]:
        """What a million spends take."""
        say("costs of a spend")
        tables = ("ledger.events", "ledger.heads")
        # Long enough for the pages that are written whole, once after each checkpoint, to be few.
        load = replace(self.load, seconds=COST_TURNS * self._turns.seconds)
        before = self._counters(tables)
        spends = peak(load).rate * load.seconds
        ledger, postgres, wal, stored = (
            after - earlier for earlier, after in zip(before, self._counters(tables), strict=True)
        )
        figures = {
            "processor time of the ledger": (ledger / spends * 1e6, "s per million spends"),
            "processor time of PostgreSQL": (postgres / spends * 1e6, "s per million spends"),
            "written to PostgreSQL's log": (wal / spends, "MB per million spends"),
            "stored with indexes": (stored / spends, "MB per million spends"),
            "memory of the ledger's process": (resident_mib(self._ledger.process.pid), "MiB"),
        }
        return [
            Row(group="costs", what=what, ours=value, unit=unit)
            for what, (value, unit) in figures.items()
        ]

    def with_projections(self) -> Row:
        """The same spends while the projections are kept up beside them."""
        say("HTTP, projections kept up")
        clockwork = self._stand.start_clockwork(self._database)
        time.sleep(3)  # it finds much to do, and begins

        def with_them() -> float:
            clockwork.thaw()
            return peak(self.load).rate

        def without() -> float:
            clockwork.freeze()
            return peak(self.load).rate

        ours, alone = self._turns.of(with_them, without)
        clockwork.thaw()
        clockwork.stop()
        return Row(
            group="HTTP",
            what="spends while projections are made on the same machine",
            ours=ours,
            yardstick=alone,
            yardstick_name="no projections",
        )

    def _apply(self, load: Load) -> list[Figures]:
        apply(load)
        return [apply(load) for _ in range(self._turns.rounds)]

    def _latencies(self, load: Load) -> tuple[float, float]:
        seen = self._apply(load)
        return _median(seen, lambda f: f.ms_p50), _median(seen, lambda f: f.ms_p99)

    def _counters(self, tables: tuple[str, ...]) -> tuple[float, float, float, float]:
        with psycopg.connect(self._database.superuser_url, autocommit=True) as connection:
            connection.execute(b"CHECKPOINT")
        return (
            cpu_seconds(self._ledger.process.pid),
            self._stand.postgres_cpu_seconds(),
            float(self._stand.wal_bytes()),
            float(size_bytes(self._database, *tables)),
        )


def _by_processes(stand: Stand, database: Database, turns: Turns) -> list[Row]:
    rows = []
    alone = 0.0
    for processes in PROCESSES:
        say(f"HTTP, {processes} processes")
        ledger = stand.serve(database, processes)
        load = Load(
            port=port_of(ledger), key=key_of(ledger), accounts=ACCOUNTS, seconds=turns.seconds
        )
        (ours,) = turns.of(lambda load=load: peak(load).rate)  # type: ignore[misc]
        alone = alone or ours
        ledger.process.stop()
        rows.append(
            Row(
                group="HTTP",
                what=f"spends, {processes} API processes",
                ours=ours,
                yardstick=alone,
                yardstick_name="one process",
            )
        )
    return rows


def _row(what: str, seen: list[Figures]) -> Row:
    return Row(
        group="HTTP",
        what=what,
        ours=_median(seen, lambda figures: figures.good_rate),
        ms_p50=_median(seen, lambda figures: figures.ms_p50),
        ms_p99=_median(seen, lambda figures: figures.ms_p99),
    )


def _median(seen: list[Figures], take: Callable[[Figures], float]) -> float:
    return statistics.median([take(figures) for figures in seen])
