"""Reading the log for a comparison: from some instant on, and all of it from there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from contracts.api.log import Event
from contracts.client import AuditClient
from contracts.limits import EVENTS_LIMIT_MAX
from job_worker.reconciling.books import Books
from job_worker.reconciling.sides import LogReader
from tests.fixtures.live import LiveLedger, serve
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow

EVENTS = EVENTS_LIMIT_MAX + 200


@pytest.fixture
def live(database: Database, processes: Processes) -> Iterator[LiveLedger]:
    """A log with more than a page of one tenant's grants, and one of another's at the end."""
    ledger = serve(processes, database)
    for start in range(0, EVENTS, 200):
        commands = [
            {"op": "grant", "account_id": "ann", "idempotency_key": f"k{n}", "amount": 1,
             "source": "promo"}
            for n in range(start, start + 200)
        ]  # fmt: skip
        ledger.caller.post("/v1/batches", {"commands": commands}, key="").raise_for_status()
    ledger.other.grant("bob", 5)
    yield ledger
    ledger.close()


def every_event(live: LiveLedger) -> list[Event]:
    """The tenant's whole log."""
    headers = {"Accept": "application/x-ndjson"}
    lines = live.caller.http.get("/v1/events", headers=headers).text.splitlines()
    return [msgspec.json.decode(line, type=Event) for line in lines]


def test_what_is_older_is_passed_over_and_nothing_else(live: LiveLedger) -> None:
    """By halving, on the tenant's own events: the first one read is the oldest that is young
    enough. What comes later is read on from there."""
    events = every_event(live)
    assert len(events) == EVENTS + 1  # the account's opening
    wanted = events[700].recorded_at
    younger = [event for event in events if event.recorded_at >= wanted]

    async def read() -> tuple[int, int]:
        assert live.caller.key is not None
        async with AuditClient(live.url, live.caller.key) as client:
            reader, books = LogReader(client, halving_stops_at=1), Books()
            await reader.start_at(wanted)
            await reader.read_on(books, lambda _: None)
            first = books.events
            live.caller.grant("ann", 1)
            await reader.read_on(books, lambda _: None)
            return first, books.events

    first, second = asyncio.run(read())
    assert 0 <= first - len(younger) <= 1
    assert second == first + 1
