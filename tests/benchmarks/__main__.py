"""`python -m tests.benchmarks`: one table, our figures beside their yardsticks.

Every pair is measured in turns within one run; figures are medians over the rounds. The run
ends with a replay: a fast ledger that does not add up has no figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from deploy.run.host import free_port
from deploy.run.postgres import DURABLE
from ledger_service.audit.replay import replay
from tests.benchmarks.engine import EngineBench
from tests.benchmarks.holds import CROWDED, EMPTY, HoldBench
from tests.benchmarks.load import Figures, Load
from tests.fixtures import services
from tests.fixtures.live import serve
from tests.fixtures.services import TEMPLATE, Cluster, Database, Processes

BODY = '{"amount":1,"reason":"bench"}'


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A figure beside its yardstick, both per second."""

    what: str
    ours: float
    yardstick: float
    ms_p50: float | None = None
    ms_p99: float | None = None

    @property
    def ratio(self) -> float:
        """Ours as a share of the yardstick."""
        return self.ours / self.yardstick


def main() -> int:
    """Measure and print; exit 1 when the ledger does not add up afterwards."""
    options = _options()
    services.TEST_SETTINGS.update(DURABLE | {"autovacuum": "on"})
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder)
        processes = Processes(folder)
        try:
            rows = _engine_rows(cluster, options) + _hold_rows(cluster, options)
            rows += _http_rows(cluster, processes, options)
        finally:
            processes.end_all()
            cluster.process.stop()
    if options.json:
        print(msgspec.json.encode(rows).decode())
    else:
        _print(rows, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--callers", type=int, default=64, help="commands in flight")
    parser.add_argument("--accounts", type=int, default=10_000, help="accounts when spread")
    parser.add_argument("--open-holds", type=int, default=100_000, help="on one account")
    parser.add_argument("--folder", default=None, help="where the database lies")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _engine_rows(cluster: Cluster, options: argparse.Namespace) -> list[Row]:
    rows = []
    for what, accounts in (
        ("one hot account", 1),
        (f"{options.accounts:,} accounts", options.accounts),
    ):
        database = cluster.new_database(TEMPLATE)
        bench = EngineBench(database, accounts, options.callers)
        _say(f"engine, {what}")
        bench.prepare()
        ours, yardstick = _in_turns(
            options,
            partial(bench.engine_rate, options.seconds),
            partial(bench.raw_rate, options.seconds),
        )
        rows.append(Row(what=f"engine, spends, {what}", ours=ours, yardstick=yardstick))
        _check(database)
        cluster.drop(database)
    return rows


def _hold_rows(cluster: Cluster, options: argparse.Namespace) -> list[Row]:
    database = cluster.new_database(TEMPLATE)
    bench = HoldBench(database, options.open_holds, options.callers)
    what = f"holds captured, {options.open_holds:,} open ones beside none"
    _say(f"engine, {what}")
    bench.prepare()
    crowded, empty = _in_turns(
        options,
        partial(bench.rate, CROWDED, options.seconds),
        partial(bench.rate, EMPTY, options.seconds),
    )
    _check(database)
    cluster.drop(database)
    return [Row(what=f"engine, {what}", ours=crowded, yardstick=empty)]


def _http_rows(cluster: Cluster, processes: Processes, options: argparse.Namespace) -> list[Row]:
    database = cluster.new_database(TEMPLATE)
    ledger = serve(processes, database)
    key = ledger.caller.key
    assert key is not None
    noop_port = _start_noop(processes, key)
    accounts = [f"bench-{n}" for n in range(200)]
    for account in accounts:
        ledger.caller.grant(account, 10**9)
    port = int(ledger.url.rpartition(":")[2])
    rows = []
    for what, method, suffix, body in (
        ("HTTP, one spend per request", "POST", "/debits", BODY),
        ("HTTP, balance read", "GET", "", ""),
    ):
        paths = [f"/v1/accounts/{account}{suffix}" for account in accounts]
        load = Load(
            host="127.0.0.1",
            port=port,
            paths=paths,
            key=key,
            body=body,
            connections=options.callers,
            seconds=options.seconds,
            method=method,
        )
        _say(what)
        rows.append(_http_row(what, load, noop_port, options))
    _check(database)
    return rows


def _http_row(what: str, load: Load, noop_port: int, options: argparse.Namespace) -> Row:
    yardstick = msgspec.structs.replace(load, port=noop_port)
    seen: list[Figures] = []

    def ours() -> float:
        seen.append(_apply(load))
        return seen[-1].rate

    rate, noop_rate = _in_turns(options, ours, lambda: _apply(yardstick).rate)
    return Row(
        what=what,
        ours=rate,
        yardstick=noop_rate,
        ms_p50=statistics.median(figures.ms_p50 for figures in seen),
        ms_p99=statistics.median(figures.ms_p99 for figures in seen),
    )


def _apply(load: Load) -> Figures:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=True,
        timeout=load.seconds + 30,
    )
    figures = msgspec.json.decode(done.stdout, type=Figures)
    if any(not status.startswith("2") for status in figures.statuses):
        raise SystemExit(f"the load was not answered as it should: {figures.statuses}")
    return figures


def _start_noop(processes: Processes, key: str) -> int:
    port = free_port()
    processes.start(
        "uvicorn",
        "tests.benchmarks.noop:app",
        *("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
        env={"NOOP_KEY": key},
        name="noop",
        ready=lambda: _listens(port),
    )
    return port


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _in_turns(
    options: argparse.Namespace, ours: Callable[[], float], yardstick: Callable[[], float]
) -> tuple[float, float]:
    """Medians of both, measured in turns after one turn of each that does not count."""
    ours(), yardstick()
    pairs = [(ours(), yardstick()) for _ in range(options.rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _check(database: Database) -> None:
    report = replay(database.url)
    if report.differences:
        raise SystemExit(f"the ledger does not add up: {report.differences}")
    _say(
        f"replayed {report.events} events at {report.events / report.seconds:,.0f}/s: no difference"
    )


def _print(rows: list[Row], options: argparse.Namespace) -> None:
    print(
        f"\n{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
        f"{options.callers} in flight; load, ledger and PostgreSQL (fsync on) on this machine; "
        f"medians of {options.rounds} turns of {options.seconds:g} s\n"
    )
    print(f"{'':36}{'ours/s':>10}{'yardstick/s':>13}{'ratio':>7}{'p50 ms':>9}{'p99 ms':>9}")
    for row in rows:
        p50 = f"{row.ms_p50:.1f}" if row.ms_p50 is not None else ""
        p99 = f"{row.ms_p99:.1f}" if row.ms_p99 is not None else ""
        print(
            f"{row.what:36}{row.ours:10,.0f}{row.yardstick:13,.0f}{row.ratio:7.2f}{p50:>9}{p99:>9}"
        )
    print(
        "\nyardsticks: raw SQL insert + update of the same rows in batches as large; "
        "a Litestar no-op\nwith the same key check, body and reply"
    )


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
