"""The store as the eventsourcing library knows one.

Its notification log, subscriptions and tracking then serve whoever follows our log. Inserts go
through the production `append_v1`; the library's own inserts would either lock the whole table
or hand out positions that become visible out of order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import (
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresSubscription,
)
from psycopg.conninfo import conninfo_to_dict

from ledger_service.store.columns import EventColumns, HeadColumns, append_values

SCHEMA: Final = "ledger"
POLL_SECONDS: Final = 0.25
_APPEND: Final = f"SELECT ledger.append_v1({', '.join(['%s'] * 29)})"


def open_datastore(url: str) -> PostgresDatastore:
    """A datastore of the library over the serving role's database."""
    parts = conninfo_to_dict(url)
    return PostgresDatastore(
        dbname=str(parts["dbname"]),
        host=str(parts.get("host", "localhost")),
        port=str(parts.get("port", "5432")),
        user=str(parts.get("user", "")),
        password=str(parts.get("password", "")),
        schema=SCHEMA,
        originator_id_type="text",
    )


class LedgerRecorder(PostgresApplicationRecorder):
    """An application recorder over `ledger.stored_events`, which is a view of our events."""

    def create_table(self) -> None:
        """Migrations make the tables."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append through the production function, once: an unknown outcome is not repeated.

        Raises the library's `IntegrityError` when a version is taken.
        """
        columns = _columns(stored_events)
        with self.datastore.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(_APPEND, append_values("main", columns, HeadColumns(), {}))
            row = cursor.fetchone()
            assert row is not None
            base: int = row["append_v1"]
        return [base + ordinal for ordinal in range(1, len(stored_events) + 1)]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LedgerSubscription:
        """Follow the log from a position."""
        return LedgerSubscription(recorder=self, gt=gt, topics=topics)


class LedgerSubscription(PostgresSubscription):
    """Polls. A NOTIFY in every append would take one more lock for the whole server, and would
    still have to be backed by polling."""

    def _listen(self) -> None:
        while not self._has_been_stopped and not self._thread_error:
            self._has_been_notified.set()
            time.sleep(POLL_SECONDS)


def _columns(stored_events: Sequence[StoredEvent]) -> EventColumns:
    columns, now = EventColumns(), datetime.now(UTC)
    for stored in stored_events:
        stream = str(stored.originator_id)
        columns.owner.append(_owner(stream))
        columns.stream.append(stream)
        columns.version.append(stored.originator_version)
        columns.topic.append(stored.topic)
        columns.state.append(stored.state.decode())
        columns.occurred_at.append(now)
        columns.recorded_at.append(now)
        columns.last.append(True)
        for absent in (columns.actor, columns.key_space, columns.trace_id):
            absent.append(None)
        columns.key_digest.append(None)
        columns.fingerprint.append(None)
    return columns


def _owner(stream: str) -> str:
    """The first two parts of a stream's name; a name without parts is its own owner."""
    return "/".join(stream.split("/")[:2])
