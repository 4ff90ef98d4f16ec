"""The library's own conformance tests, on our tables and the production append."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from ledger_service.store.recorder import LedgerRecorder, open_datastore
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


class OnOurTables:
    """Gives the library's test cases a recorder on a database of their own."""

    @pytest.fixture(autouse=True)
    def _connect(self, database: Database) -> Iterator[None]:
        self.datastore = open_datastore(database.url)
        yield
        self.datastore.close()

    def create_recorder(self) -> LedgerRecorder:
        """A recorder as followers of the log use it."""
        return LedgerRecorder(self.datastore)

    def new_originator_id(self) -> str:
        """Streams are named in text."""
        return f"demo/{uuid4()}"


class TestRecorder(OnOurTables, ApplicationRecorderTestCase[ApplicationRecorder]):
    """Inserts, selections, conflicts, notifications and concurrency."""

    def test_subscription(self) -> None:
        """A subscription sees what is there, what comes, and stops when told."""
        self.optional_test_insert_subscribe()


class TestOrder(OnOurTables, NonInterleavingNotificationIDsBaseCase):
    """Positions of two concurrent appends do not interleave."""
