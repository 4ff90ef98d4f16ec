"""The store as the eventsourcing library knows one.

Its notification log, subscriptions and tracking then serve whoever follows our log. Inserts go
through the production `append_v2`; the library's own inserts would either lock the whole table
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

from ledger_service.store.columns import EventColumns, EventRow, plain_append

SCHEMA: Final = "ledger"
POLL_SECONDS: Final = 0.25


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
            statement, values = plain_append(columns)
            cursor.execute(statement.encode(), values)
            row = cursor.fetchone()
            assert row is not None
            base: int = row["base"]
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
    now = datetime.now(UTC)
    return EventColumns.of([_row(stored, now) for stored in stored_events])


def _row(stored: StoredEvent, now: datetime) -> EventRow:
    stream, version = str(stored.originator_id), stored.originator_version
    nobody = (None, None, None, None, None)
    return (_owner(stream), stream, version, stored.topic, stored.state, *nobody, now, now, True)


def _owner(stream: str) -> str:
    """The first two parts of a stream's name; a name without parts is its own owner."""
    return "/".join(stream.split("/")[:2])
