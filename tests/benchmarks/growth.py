"""The same load on ledgers with short and with very long histories."""

from __future__ import annotations

import time
from functools import partial

from msgspec.structs import replace

from tests.benchmarks.client import peak
from tests.benchmarks.filling import fill
from tests.benchmarks.load import Load
from tests.benchmarks.measure import Row, Turns, resident_mib, say
from tests.benchmarks.pressure import pressure_rows
from tests.benchmarks.stand import Stand, check, key_of, port_of, size_bytes
from tests.fixtures.live import LiveLedger
from tests.fixtures.services import Database

ACCOUNTS_AT_WORK = 250
"""As many accounts get all requests, whatever else there is: what differs is the history."""
ACCOUNTS_MAX = 1_000_000


def growth_rows(stand: Stand, turns: Turns, sizes: list[int]) -> list[Row]:
    """Spends and reads per second by events and accounts, in turns; then what else is asked of
    the largest."""
    databases = [_filled(stand, size) for size in sizes]
    ledgers = [stand.serve(database) for database in databases]
    rows = []
    for kind in ("spend", "balance"):
        say(f"growth, {kind}")
        loads = [_load(ledger, kind, turns) for ledger in ledgers]
        rates = turns.of(*[partial(_rate, load) for load in loads])
        for size, rate in zip(sizes, rates, strict=True):
            rows.append(
                Row(
                    group="growth",
                    what=f"{kind}s with {size:,} events",
                    ours=rate,
                    yardstick=rates[0],
                    yardstick_name=f"{sizes[0]:,} events",
                    notes={"events": float(size)},
                )
            )
    rows += _all_accounts(ledgers[-1], sizes[-1], turns)
    rows += [_stored(size, database) for size, database in zip(sizes, databases, strict=True)]
    for ledger in ledgers:
        ledger.process.stop()
    pressed = pressure_rows(stand, turns, databases[-1])
    for size, database in zip(sizes, databases, strict=True):
        rows.append(_replayed(size, database))
        stand.cluster.drop(database)
    return rows + [replace(row, group="pressure, long history") for row in pressed]


def _filled(stand: Stand, events: int) -> Database:
    accounts = min(ACCOUNTS_MAX, events // 4 if events < 10_000 else events // 10)
    database = stand.new_database()
    started = time.monotonic()
    fill(database, accounts, events)
    seconds = time.monotonic() - started
    say(f"{events:,} events of {accounts:,} accounts made in {seconds:,.0f} s")
    return database


def _load(ledger: LiveLedger, kind: str, turns: Turns) -> Load:
    return Load(
        port=port_of(ledger),
        key=key_of(ledger),
        kind=kind,
        accounts=ACCOUNTS_AT_WORK,
        seconds=turns.seconds,
    )


def _rate(load: Load) -> float:
    return peak(load).rate


def _all_accounts(ledger: LiveLedger, events: int, turns: Turns) -> list[Row]:
    """Requests that go to any of the accounts: hardly one of them is remembered."""
    accounts = min(ACCOUNTS_MAX, events // 10)
    say(f"all {accounts:,} accounts")
    wide = replace(_load(ledger, "spend", turns), accounts=accounts)
    ours, few = turns.of(partial(_rate, wide), partial(_rate, _load(ledger, "spend", turns)))
    memory = resident_mib(ledger.process.pid)
    return [
        Row(
            group="growth",
            what=f"spends over {accounts:,} accounts",
            ours=ours,
            yardstick=few,
            yardstick_name=f"over {ACCOUNTS_AT_WORK} of them",
        ),
        Row(
            group="growth",
            what=f"memory of the ledger's process with {accounts:,} accounts",
            ours=memory,
            unit="MiB",
            floor=150.0,
            is_ceiling=True,
        ),
    ]


def _stored(size: int, database: Database) -> Row:
    stored = size_bytes(database, "ledger.events") / size
    return Row(
        group="growth",
        what=f"bytes per event with {size:,} events, indexes included",
        ours=stored,
        unit="bytes",
    )


def _replayed(size: int, database: Database) -> Row:
    report = check(database)
    return Row(
        group="growth",
        what=f"replay of {size:,} events and more",
        ours=report.events / report.seconds,
    )
