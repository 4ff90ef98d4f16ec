"""What else one would build it with: the event store that is our library's own, and a balance that
is a row to be locked."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from typing import Final
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from deploy.run.host import service_user
from deploy.run.postgres import binaries
from tests.benchmarks.engine import STATE
from tests.benchmarks.measure import Row, Turns, say
from tests.benchmarks.stand import Stand
from tests.fixtures.services import Database

THREADS: Final = 8
PGBENCH_TABLES: Final = """
CREATE TABLE balances (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 60);
CREATE TABLE movements (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int NOT NULL,
    amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO balances SELECT n, 1000000000 FROM generate_series(1, 100000) AS n
"""
PGBENCH_SCRIPT: Final = r"""
\set account random(1, {accounts})
BEGIN;
UPDATE balances SET balance = balance - 1 WHERE id = :account AND balance >= 1;
INSERT INTO movements (account, amount) VALUES (:account, -1);
COMMIT;
"""


def peer_rows(stand: Stand, turns: Turns) -> list[Row]:
    """Spends per second, as others do them."""
    say("the library's own recorder")
    database = stand.new_database()
    recorder = _StockRecorder(database)
    one, hundred = turns.of(
        lambda: recorder.rate(turns.seconds, 1), lambda: recorder.rate(turns.seconds, 100)
    )
    recorder.close()
    say("a row lock per debit, pgbench")
    with database.connect_owner(autocommit=True) as connection:
        connection.execute(PGBENCH_TABLES.encode())
    spread, hot = turns.of(
        lambda: _pgbench(stand, database, 100_000, turns.seconds),
        lambda: _pgbench(stand, database, 1, turns.seconds),
    )
    stand.cluster.drop(database)
    what = {
        "eventsourcing's PostgreSQL recorder, one event per append": one,
        "eventsourcing's PostgreSQL recorder, 100 events per append": hundred,
        "row-lock debit (pgbench, 64 clients), 100,000 accounts": spread,
        "row-lock debit (pgbench, 64 clients), one hot account": hot,
    }
    return [Row(group="peers", what=name, ours=rate) for name, rate in what.items()]


class _StockRecorder:
    """The library's recorder as it comes, in its own table."""

    def __init__(self, database: Database) -> None:
        parts = conninfo_to_dict(database.owner_url)
        self._datastore = PostgresDatastore(
            dbname=str(parts["dbname"]),
            host=str(parts["host"]),
            port=str(parts["port"]),
            user=str(parts["user"]),
            password=str(parts["password"]),
            pool_size=THREADS,
            max_overflow=0,
        )
        self._recorder = PostgresApplicationRecorder(
            self._datastore, events_table_name="stock_events"
        )
        self._recorder.create_table()

    def close(self) -> None:
        """Close its connections."""
        self._datastore.close()

    def rate(self, seconds: float, batch: int) -> float:
        """Events per second, by several threads."""
        counts = [0] * THREADS
        until = time.perf_counter() + seconds

        def work(number: int) -> None:
            while time.perf_counter() < until:
                stream = uuid4()
                events = [
                    StoredEvent(stream, version, "credits_debited.v1", STATE.encode())
                    for version in range(1, batch + 1)
                ]
                self._recorder.insert_events(events)
                counts[number] += batch

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - started)


def _pgbench(stand: Stand, database: Database, accounts: int, seconds: float) -> float:
    script = stand.folder / f"pgbench-{accounts}.sql"
    script.write_text(PGBENCH_SCRIPT.format(accounts=accounts))
    done = subprocess.run(
        [
            str(binaries(service_user()) / "pgbench"),
            *("--no-vacuum", "--protocol=prepared", "--client=64", "--jobs=1"),
            *(f"--time={max(1, round(seconds))}", f"--file={script}", database.owner_url),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    return float(found[1])
