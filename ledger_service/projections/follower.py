"""Follows the log and makes the projections, each stretch with its position in one transaction.

So a row is there exactly once however often the process is killed between, and readers know from
which version on they must look at the events themselves. Several may run: a lock lets one work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg

from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent
from ledger_service.errors import CorruptHistory
from ledger_service.projections.rows import Place, Rows, columns
from ledger_service.store.arrays import text_array
from ledger_service.store.folding import account_at, run_steps
from ledger_service.store.heads import SNAPSHOT_VERSION, encode_state
from ledger_service.store.link import watched
from ledger_service.store.statements import load_statements

PROJECTIONS_VERSION: Final = 1
"""Raised when what stands in the projections' tables changes its meaning."""
VERSION: Final = PROJECTIONS_VERSION * 1_000 + SNAPSHOT_VERSION
"""Projections of an older version are made anew; those of a newer one are left alone."""
STRETCH_MAX: Final = 500
"""Events per transaction. Whoever commits meanwhile waits until what this one has written is on
disk as well, so it must not be much."""
REST: Final = 0.5
"""How long to rest after one stretch of many, as a multiple of the time that it took: enough for
spends to come through, and not so much that the projections fall behind a busy ledger."""
SNAPSHOT_EVERY: Final = 1_000
"""Events of an account from one snapshot to the next: what time travel has to fold at most."""
SNAPSHOTS_MAX: Final = 50
"""Snapshots between two stretches: each folds as many events as lie between it and the last."""
_SESSION: Final = """
SET timezone = 'UTC'; SET jit = off; SET lock_timeout = '1s';
SET plan_cache_mode = force_generic_plan;
-- What a crash takes back of it, its position included, is made again.
SET synchronous_commit = off;
SET idle_in_transaction_session_timeout = '60s';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""

_SQL: Final = load_statements("projections")
_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Where the projections are, by what version of the code, where the log is, and how many
    snapshots are still to be taken."""

    position: int
    version: int
    head: int
    snapshots_due: int


class Follower:
    """One connection, used by one thread at a time. Methods raise `psycopg.Error`."""

    def __init__(self, database_url: str, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._database_url = database_url
        self._snapshot_every = snapshot_every
        self._connection: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        """Close the connection; a further call opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def catch_up(self, is_over: Callable[[], bool] = lambda: False) -> int:
        """Go on until there is nothing left to do, or `is_over`; returns the events taken in.

        Where there is more than one stretch to do, it rests between them: spends come first.
        """
        taken = 0
        while not is_over():
            started = time.monotonic()
            events, snapshots = self.step()
            taken += events
            if not events and not snapshots:
                break
            if events == STRETCH_MAX:
                time.sleep(REST * (time.monotonic() - started))
        return taken

    def step(self) -> tuple[int, int]:
        """Do a part of what there is to do; returns how many events and snapshots were taken."""
        progress = self.progress()
        is_behind = progress.position < progress.head or progress.version < VERSION
        events = self.take_stretch() if is_behind else 0
        return events, self.take_snapshots() if events or progress.snapshots_due else 0

    def progress(self) -> Progress:
        """How far the projections are; by a look that locks nothing."""
        row = self._open().execute(_SQL["progress"]).fetchone()
        assert row is not None, "migrations make the row"
        return Progress._make(row)

    def take_stretch(self) -> int:
        """Take in the next stretch of the log; returns how many events that were: none as well
        when somebody else is at it, or newer code has been."""
        connection = self._open()
        with connection.transaction():
            row = connection.execute(_SQL["lock"]).fetchone()
            if row is None:
                return 0
            position, version = row
            if version > VERSION:
                return 0
            if version < VERSION:
                _log.info("makes the projections anew: version %d, was %d", VERSION, version)
                position = self._forget(connection)
            values = (str(position), str(STRETCH_MAX))
            events = connection.execute(_SQL["stretch"], values, binary=True).fetchall()
            if events:
                self._take(connection, events)
                self._advance(connection, events[-1][0])
            return len(events)

    def take_snapshots(self) -> int:
        """Take some of the snapshots that are due, the oldest first; returns how many."""
        taken = 0
        while taken < SNAPSHOTS_MAX and self._take_snapshot():
            taken += 1
        return taken

    def _take_snapshot(self) -> bool:
        connection = self._open()
        with connection.transaction():
            row = connection.execute(_SQL["take_snapshot_due"]).fetchone()
            if row is None:
                return False
            owner, version = row
            try:
                state, left = run_steps(account_at(owner, version), _fetch(connection))
            except CorruptHistory as error:  # time travel there will say so; others go on
                _log.error("no snapshot of %s: %s", owner, error)
                return True
            values = (owner, str(version), str(SNAPSHOT_VERSION), encode_state(state).decode())
            connection.execute(_SQL["add_snapshot"], values)
            if left:
                ids, states = list(left), [encode_state(lot).decode() for lot in left.values()]
                lots = (owner, str(version), text_array(ids), text_array(states))
                connection.execute(_SQL["add_past_lots"], lots)
            return True

    def forget(self) -> None:
        """Throw all projections away; whoever follows makes them anew. Waits for who is at it."""
        connection = self._open()
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = 0")
            connection.execute(_SQL["lock_waiting"])
            self._forget(connection)

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                watched(self._database_url), autocommit=True, cursor_factory=psycopg.RawCursor
            )
            self._connection.execute(_SESSION, prepare=False)
        return self._connection

    def _forget(self, connection: psycopg.Connection[Any]) -> int:
        for name, statement in _SQL.items():
            if name.startswith("forget_"):
                connection.execute(statement)
        self._advance(connection, 0)
        return 0

    def _advance(self, connection: psycopg.Connection[Any], position: int) -> None:
        connection.execute(_SQL["advance"], (str(position), str(VERSION)))

    def _take(self, connection: psycopg.Connection[Any], events: list[Any]) -> None:
        rows, due = Rows(), []
        for position, owner, _, version, topic, state, recorded_at, actor in events:
            event = decode(topic, state)
            rows.add(Place(position, owner, version, recorded_at, actor), event)
            if isinstance(event, AccountEvent) and version % self._snapshot_every == 0:
                due.append((position, owner, version))
        for name, values in rows.statements():
            connection.execute(_SQL[name], values)
        if due:
            connection.execute(_SQL["add_snapshots_due"], columns("ntn", due))


def _fetch(connection: psycopg.Connection[Any]) -> Callable[[str, tuple[str, ...]], list[Any]]:
    def fetch(statement: str, values: tuple[str, ...]) -> list[Any]:
        return connection.execute(statement, values, binary=True).fetchall()

    return fetch
