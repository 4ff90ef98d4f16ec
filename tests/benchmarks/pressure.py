"""What becomes of spends when there are too many of them, or something else wants the machine."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
from msgspec.structs import replace

from tests.benchmarks.client import apply
from tests.benchmarks.load import Figures, Load
from tests.benchmarks.measure import Row, Turns, resident_mib, say
from tests.benchmarks.stand import Stand, key_of, port_of
from tests.fixtures.live import LiveLedger, environment
from tests.fixtures.services import Database

ACCOUNTS = 2_000
OVERLOAD = 3.0
CONNECTIONS = 2_000
BUSY_SHARE = 0.3
"""The load whose latency is watched while something else goes on, as a share of the peak."""
IDLE_CLIENTS = 200
SOAK_ROUNDS = 6


def pressure_rows(stand: Stand, turns: Turns, database: Database | None = None) -> list[Row]:
    """On a database of its own, or on one that is already large."""
    is_own = database is None
    database = database or stand.new_database(ACCOUNTS)
    ledger = stand.serve(database)
    bench = PressureBench(stand, ledger, database, turns)
    rows = [*bench.overload(), *bench.beside_others(), bench.slow_clients(), bench.soak()]
    ledger.process.stop()
    if is_own:
        stand.drop(database)
    return rows


class PressureBench:
    """One ledger process, and somebody who is too much for it."""

    def __init__(self, stand: Stand, ledger: LiveLedger, database: Database, turns: Turns) -> None:
        self._stand = stand
        self._ledger = ledger
        self._database = database
        self._turns = turns
        self._load = Load(
            port=port_of(ledger), key=key_of(ledger), accounts=ACCOUNTS, seconds=turns.seconds
        )
        say("the peak")
        self._peak = statistics.median([apply(self._load).rate for _ in range(3)])

    def overload(self) -> list[Row]:
        """Three times as much is asked for as can be done."""
        say("overload")
        flood = replace(
            self._load, connections=CONNECTIONS, rate=OVERLOAD * self._peak, seconds=6.0
        )
        good, plain = self._turns.of(
            lambda: apply(flood).good_rate, lambda: apply(self._load).good_rate
        )
        last = apply(flood)
        refused = last.statuses.get("503", 0) / sum(last.statuses.values())
        return [
            Row(
                group="pressure",
                what=f"good answers at {OVERLOAD:g} times the load that can be carried",
                ours=good,
                yardstick=plain,
                yardstick_name="the peak",
                floor=0.8,
                ms_p50=last.ms_p50,
                ms_p99=last.ms_p99,
                notes={"told to come later (share)": refused},
            )
        ]

    def beside_others(self) -> list[Row]:
        """Latency of spends, alone and beside what reads or rebuilds a lot."""
        quiet = self._latencies()
        others = {
            "an export of the log": self._exports,
            "lists being scanned": self._scans,
            "projections being rebuilt": self._rebuilds,
        }
        return [self._beside(what, quiet, begin) for what, begin in others.items()]

    def _beside(self, what: str, quiet: Figures, begin: Callable[[threading.Event], None]) -> Row:
        say(f"spends beside {what}")
        with _going_on(begin):
            time.sleep(1.0)
            busy = self._latencies()
        return Row(
            group="pressure",
            what=f"median latency of spends beside {what}, times that without",
            ours=busy.ms_p50 / quiet.ms_p50,
            unit="times",
            floor=2.0,
            is_ceiling=True,
            ms_p50=busy.ms_p50,
            ms_p99=busy.ms_p99,
            notes={"p50 without, ms": quiet.ms_p50, "p99 without, ms": quiet.ms_p99},
        )

    def _latencies(self) -> Figures:
        load = replace(self._load, rate=BUSY_SHARE * self._peak)
        apply(load)
        seen = sorted([apply(load) for _ in range(self._turns.rounds)], key=lambda f: f.ms_p50)
        return seen[len(seen) // 2]

    def slow_clients(self) -> Row:
        """Some send half a request, some ask for everything and never read it."""
        say("frozen clients")
        ours, plain = self._turns.of(
            lambda: self._beside_frozen(), lambda: apply(self._load).good_rate
        )
        return Row(
            group="pressure",
            what=f"spends beside {IDLE_CLIENTS} clients that stand still",
            ours=ours,
            yardstick=plain,
            yardstick_name="without them",
            floor=0.9,
        )

    def _beside_frozen(self) -> float:
        key = key_of(self._ledger)
        authorization = f"Host: ledger\r\nAuthorization: Bearer {key}\r\n"
        half = f"POST /v1/accounts/bench-0/debits HTTP/1.1\r\n{authorization}"
        never_read = (
            f"GET /v1/events HTTP/1.1\r\n{authorization}Accept: application/x-ndjson\r\n\r\n"
        )
        clients = []
        for number in range(IDLE_CLIENTS):
            client = socket.create_connection(("127.0.0.1", self._load.port))
            client.sendall((half if number % 10 else never_read).encode())
            clients.append(client)
        try:
            return apply(self._load).good_rate
        finally:
            for client in clients:
                client.close()

    def soak(self) -> Row:
        """Memory of the ledger's process from one round to the next."""
        say("memory over a longer run")
        pid = self._ledger.process.pid
        rounds = []
        for _ in range(SOAK_ROUNDS):
            apply(replace(self._load, seconds=2 * self._turns.seconds))
            rounds.append(resident_mib(pid))
        return Row(
            group="pressure",
            what="memory of the ledger's process after a long run",
            ours=rounds[-1],
            unit="MiB",
            floor=150.0,
            is_ceiling=True,
            notes={"at first, MiB": rounds[0]},
        )

    # What else goes on, until the event is set.

    def _exports(self, is_over: threading.Event) -> None:
        headers = self._headers() | {"Accept": "application/x-ndjson"}
        while not is_over.is_set():
            with (
                httpx.Client(base_url=self._ledger.url, timeout=60.0, headers=headers) as client,
                client.stream("GET", "/v1/events") as answer,
            ):
                for _ in answer.iter_bytes(65_536):
                    if is_over.is_set():
                        break

    def _scans(self, is_over: threading.Event) -> None:
        with httpx.Client(
            base_url=self._ledger.url, timeout=60.0, headers=self._headers()
        ) as client:
            number = 0
            while not is_over.is_set():
                number += 1
                account = f"/v1/accounts/bench-{number % ACCOUNTS}"
                client.get(f"{account}/entries", params={"limit": 200}).raise_for_status()

    def _rebuilds(self, is_over: threading.Event) -> None:
        env = environment(self._database, self._stand.folder)
        command = [sys.executable, "-m", "ledger_service", "projections", "rebuild"]
        while not is_over.is_set():
            with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as rebuild:
                while rebuild.poll() is None:
                    if is_over.wait(0.1):
                        rebuild.terminate()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {key_of(self._ledger)}"}


@contextmanager
def _going_on(work: Callable[[threading.Event], None]) -> Iterator[None]:
    is_over = threading.Event()

    def run() -> None:
        with suppress(httpx.HTTPError):
            work(is_over)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
        assert thread.is_alive(), "what should have gone on has ended by itself"
    finally:
        is_over.set()
        thread.join(30)
