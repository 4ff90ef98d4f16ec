"""Servers and databases for one run, all on this machine."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from pathlib import Path

from deploy.run.host import free_port
from deploy.run.postgres import DURABLE
from ledger_service.audit.replay import Report, replay
from tests.benchmarks.measure import family_cpu_seconds, say
from tests.fixtures import services
from tests.fixtures.engines import grant, running_engine
from tests.fixtures.live import LiveLedger, environment, serve
from tests.fixtures.services import TEMPLATE, Cluster, Database, Process, Processes

SETTINGS = DURABLE | {"autovacuum": "on", "shared_buffers": "512MB"}
RICH = 10**9


class Stand:
    """A cluster with `fsync` on, and whatever runs over it."""

    def __init__(self, folder: Path) -> None:
        services.TEST_SETTINGS.clear()
        services.TEST_SETTINGS.update(SETTINGS)
        self.folder = folder
        self.cluster = Cluster(folder)
        self.processes = Processes(folder)

    def close(self) -> None:
        """End everything."""
        self.processes.end_all()
        self.cluster.process.stop()

    @property
    def postgresql(self) -> str:
        """The server's version."""
        with self.cluster.cluster.connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None
        return str(row[0])

    def new_database(self, accounts: int = 0) -> Database:
        """An empty ledger, or one with so many accounts that are rich."""
        database = self.cluster.new_database(TEMPLATE)
        if accounts:
            asyncio.run(_fund(database, accounts))
        return database

    def drop(self, database: Database) -> None:
        """Check that the ledger adds up, then remove it: a fast wrong ledger has no figures."""
        check(database)
        self.cluster.drop(database)

    def serve(self, database: Database, processes: int = 1) -> LiveLedger:
        """Serve it by HTTP."""
        return serve(self.processes, database, "--workers", str(processes))

    def start_clockwork(self, database: Database) -> Process:
        """Sweeps and projections."""
        env = environment(database, self.folder)
        return self.processes.start("ledger_service", "clockwork", env=env, name="clockwork")

    def start_yardstick(self, module: str, key: str) -> int:
        """A server that does nothing, under the same HTTP server; returns its port."""
        port = free_port()
        self.processes.start(
            "uvicorn",
            f"tests.benchmarks.{module}:app",
            *("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            env={"NOOP_KEY": key},
            name=f"{module}-{port}",
            ready=lambda: _listens(port),
        )
        return port

    def postgres_cpu_seconds(self) -> float:
        """What PostgreSQL has used of processors so far."""
        return family_cpu_seconds(self.cluster.process.pid)

    def wal_bytes(self) -> int:
        """How much PostgreSQL has written to its log so far."""
        with self.cluster.cluster.connect() as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(row[0])


def port_of(ledger: LiveLedger) -> int:
    """Where it listens."""
    return int(ledger.url.rpartition(":")[2])


def key_of(ledger: LiveLedger) -> str:
    """Its key that may do everything."""
    assert ledger.caller.key is not None
    return ledger.caller.key


def check(database: Database) -> Report:
    """Fold the log: every equation, balance and position. Ends the run when one differs."""
    report = replay(database.url, shares=None)
    if report.differences:
        raise SystemExit(f"the ledger does not add up: {report.differences}")
    rate = report.events / report.seconds
    say(f"replayed {report.events:,} events at {rate:,.0f}/s: no difference")
    return report


def size_bytes(database: Database, *tables: str) -> int:
    """What tables take on disk, with their indexes."""
    assert all(re.fullmatch(r"[a-z_.]+", table) for table in tables)
    sizes = " + ".join(f"pg_total_relation_size('{table}')" for table in tables)
    with database.connect() as connection:
        row = connection.execute(f"SELECT {sizes}".encode()).fetchone()
    assert row is not None
    return int(row[0])


async def _fund(database: Database, accounts: int) -> None:
    async with asyncio.timeout(3600), running_engine(database.url) as engine:
        for start in range(0, accounts, 2_000):
            numbers = range(start, min(start + 2_000, accounts))
            await asyncio.gather(*[grant(engine, RICH, f"demo/bench-{n}") for n in numbers])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
