"""Ledgers with a long history, made faster than by living it.

Every event is decided by the ledger's own law and written as it would be; only the writing is done
in bulk. `check` folds the result like any other log.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from ledger_service.domain.account.settle import next_due
from ledger_service.domain.commands import Command, DebitCredits, GrantCredits, Key
from ledger_service.domain.decide import decide
from ledger_service.domain.events import encode, topic_of
from ledger_service.domain.world import Decision, World
from ledger_service.store.heads import SNAPSHOT_VERSION, encode_state
from tests.benchmarks.measure import say
from tests.benchmarks.stand import RICH
from tests.fixtures.services import Database

STEP: Final = timedelta(microseconds=200)
_COPY_EVENTS: Final = """
COPY ledger.events (log, position, owner, stream, version, topic, state, actor, key_space,
    key_digest, fingerprint, trace_id, occurred_at, recorded_at, last_of_command)
FROM STDIN (FORMAT binary)
"""
_EVENT_TYPES: Final = (
    *("text", "int8", "text", "text", "int8", "text", "bytea", "text", "text", "bytea", "bytea"),
    *("text", "timestamptz", "timestamptz", "bool"),
)
_COPY_HEADS: Final = """
COPY ledger.heads (owner, stream, version, recorded_at, position, posted, held, debt, credit_limit,
    status, next_expiry_at, snapshot_version, snapshot)
FROM STDIN (FORMAT binary)
"""
_HEAD_TYPES: Final = (
    *("text", "text", "int8", "timestamptz", "int8", "int8", "int8", "int8", "int8", "text"),
    *("timestamptz", "int8", "bytea"),
)
_COPY_LOTS: Final = """
COPY ledger.lots (owner, grant_id, place, state) FROM STDIN (FORMAT binary)
"""


def fill(database: Database, accounts: int, events: int) -> None:
    """So many accounts (two events each), then spends on any of them up to so many events."""
    history = _History(accounts, events)
    with database.connect() as connection:
        connection.execute("SET synchronous_commit = off")
        with connection.cursor().copy(_COPY_EVENTS.encode()) as copy:
            copy.set_types(_EVENT_TYPES)
            for row in history.rows():
                copy.write_row(row)
                if history.position % 1_000_000 == 0:
                    say(f"{history.position:,} events made")
        with connection.cursor().copy(_COPY_HEADS.encode()) as copy:
            copy.set_types(_HEAD_TYPES)
            for row in history.heads():
                copy.write_row(row)
        with connection.cursor().copy(_COPY_LOTS.encode()) as copy:
            copy.set_types(("text", "text", "text", "bytea"))
            for row in history.lots():
                copy.write_row(row)
        last = "UPDATE ledger.logs SET last = %s WHERE log = 'main'"
        connection.execute(last, (history.position,))
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for table in ("events", "heads", "lots"):
            connection.execute(f"VACUUM ANALYZE ledger.{table}".encode())
        connection.execute("CHECKPOINT")


class _History:
    """Decides one command after the other."""

    def __init__(self, accounts: int, events: int) -> None:
        self._owners = [f"demo/bench-{number}" for number in range(accounts)]
        self._events = events
        self._world = World()
        self._positions: dict[str, int] = {}
        self._now = datetime.now(UTC) - STEP * (events + 1)
        self._chance = random.Random(accounts)
        self.position = 0

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Events in their order."""
        for owner in self._owners:
            self._world.accounts[owner] = None
            key = Key("k", str(uuid.UUID(int=self._chance.getrandbits(128))))
            yield from self._decided(
                GrantCredits(owner=owner, key=key, amount=RICH, source="purchase", priority=50)
            )
        while self.position < self._events:
            owner = self._chance.choice(self._owners)
            key = Key("k", str(uuid.UUID(int=self._chance.getrandbits(128))))
            yield from self._decided(DebitCredits(owner=owner, key=key, amount=1, reason="bench"))

    def _decided(self, command: Command) -> Iterator[tuple[object, ...]]:
        self._now += STEP
        decision = decide(self._world, command, self._now)
        assert isinstance(decision, Decision)
        self._world.accounts.update(decision.accounts)
        last = len(decision.events) - 1
        for number, new in enumerate(decision.events):
            self.position += 1
            key = new.key
            yield (
                *("main", self.position, new.owner, new.stream, new.version, topic_of(new.event)),
                *(encode(new.event), "key:bench", key.space if key else None),
                *(key.digest if key else None, bytes(32) if key else None),
                *(f"{self.position:032x}-{self.position:016x}", self._now, self._now),
                number == last,
            )
        self._positions[command.owner] = self.position

    def heads(self) -> Iterator[tuple[object, ...]]:
        """Every account as it is in the end."""
        for owner in self._owners:
            state = self._world.accounts[owner]
            assert state is not None
            yield (
                *(owner, owner, state.version, state.recorded_at, self._positions[owner]),
                *(state.posted, state.held, state.debt, state.credit_limit, str(state.status)),
                *(next_due(state), SNAPSHOT_VERSION, encode_state(state)),
            )

    def lots(self) -> Iterator[tuple[object, ...]]:
        """Their lots, as they are stored when they are made: the heads know better."""
        for owner in self._owners:
            state = self._world.accounts[owner]
            assert state is not None
            for lot in state.lots:
                yield (owner, lot.grant_id, "h", encode_state(lot))
