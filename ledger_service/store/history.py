"""An account's history by pages, from the projection and, past its end, from the events.

So a page is always complete and as fresh as the log, whether the projection keeps up or is being
made anew. Every method may raise `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from ledger_service.domain.account.entries import reference_of
from ledger_service.domain.bearings import uses_of
from ledger_service.domain.events.account import AccountEvent
from ledger_service.store.folding import fetch_past
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements
from ledger_service.store.stored import StoredEvent, stored_event

TAIL_MAX: Final = 5_000
"""Events past the projection's end that one request looks at, however few of them fit."""
BEFORE_ALL: Final = 2**62
"""A version beyond every version."""

_SQL: Final = load_statements("history")


class HistoryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which of an account's events are wanted; null means any. `until` is exclusive."""

    topics: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    reference: str | None = None

    def fits(self, stored: StoredEvent, topic: str) -> bool:
        """What the statements of the projection ask of an entry, asked of its event."""
        if self.topics is not None and topic not in self.topics:
            return False
        if self.actor is not None and stored.actor != self.actor:
            return False
        if self.reference is None:
            return True
        assert isinstance(stored.event, AccountEvent)
        return reference_of(stored.event) == self.reference


class HistoryPage(NamedTuple):
    """Events, newest first; the next page lies before `next_before`, if there is one."""

    events: list[StoredEvent]
    next_before: int | None


class _Span(NamedTuple):
    """Versions `after` < version < `before`."""

    after: int
    before: int


class _Listing(NamedTuple):
    """A list of events: which ones it has, and the statement that finds them projected."""

    fits: Callable[[StoredEvent, str], bool]
    statement: str
    values: tuple[Any, ...]


class History:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def page(
        self, owner: str, wanted: HistoryFilter, before: int, limit: int
    ) -> HistoryPage | None:
        """A page of an account's events; None when there is no such account."""

        async def work(connection: Connection) -> HistoryPage | None:
            async with snapshot(connection):
                if not await _fetch(connection, "is_there", (owner,)):
                    return None
                span = await _span(connection, owner, wanted, before)
                return await _page(connection, owner, _listing(wanted), span, limit)

        return await self._pool.read(work)

    async def debits_of_lot(
        self, owner: str, grant_id: str, before: int, limit: int
    ) -> HistoryPage:
        """A page of the debits that took credits from a lot."""

        def fits(stored: StoredEvent, _: str) -> bool:
            event = stored.event
            assert isinstance(event, AccountEvent)
            return any(part.grant_id == grant_id for part in uses_of(event))

        async def work(connection: Connection) -> HistoryPage:
            async with snapshot(connection):
                listing = _Listing(fits, "lot_uses", (grant_id,))
                return await _page(connection, owner, listing, _Span(0, before), limit)

        return await self._pool.read(work)


def _listing(wanted: HistoryFilter) -> _Listing:
    """By the filter that leaves the fewest; the others are looked at on the way."""
    types = None
    if wanted.topics is not None:
        types = [topic.partition(".")[0] for topic in wanted.topics]
    if wanted.reference is not None:
        values = (wanted.reference, types, wanted.actor)
        return _Listing(wanted.fits, "entries_by_reference", values)
    if types is not None:
        return _Listing(wanted.fits, "entries_by_type", (types, wanted.actor))
    if wanted.actor is not None:
        return _Listing(wanted.fits, "entries_by_actor", (wanted.actor,))
    return _Listing(wanted.fits, "entries", ())


async def _span(connection: Connection, owner: str, wanted: HistoryFilter, before: int) -> _Span:
    """The versions that lie between the instants asked for."""
    after = 0
    if wanted.since is not None:
        after = await _version_before(connection, owner, wanted.since)
    if wanted.until is not None:
        before = min(before, await _version_before(connection, owner, wanted.until) + 1)
    return _Span(after, before)


async def _version_before(connection: Connection, owner: str, at: datetime) -> int:
    values = (owner, at.astimezone(UTC).isoformat())
    rows = await fetch_past(connection, "version_before_instant", values)
    version: int = rows[0][0] if rows else 0
    return version


async def _page(
    connection: Connection, owner: str, listing: _Listing, span: _Span, limit: int
) -> HistoryPage:
    ((projected,),) = await fetch_past(connection, "projected", (owner,))
    events: list[StoredEvent] = []
    next_before = None
    if span.before > projected + 1:
        beyond = _Span(max(span.after, projected), span.before)
        events, next_before = await _tail(connection, owner, listing, beyond, limit)
    if len(events) <= limit and next_before is None:
        values = (owner, span.after, min(span.before, projected + 1), limit + 1 - len(events))
        rows = await _fetch(connection, listing.statement, (*values, *listing.values))
        events += [stored_event(row) for row in rows]
    if len(events) > limit:
        return HistoryPage(events[:limit], events[limit - 1].version)
    return HistoryPage(events, next_before)


async def _tail(
    connection: Connection, owner: str, listing: _Listing, span: _Span, limit: int
) -> tuple[list[StoredEvent], int | None]:
    """Fitting events that are not projected, up to one more than `limit`; and, if not all of them
    could be looked at, the version from which on they were."""
    rows = await _fetch(connection, "tail", (owner, span.after, span.before, TAIL_MAX))
    events = []
    for row in rows:
        stored = stored_event(row)
        if listing.fits(stored, row[5]):
            events.append(stored)
            if len(events) > limit:
                return events, None
    return events, rows[-1][4] if len(rows) == TAIL_MAX else None


async def _fetch(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name].encode(), values, binary=True)
    return await cursor.fetchall()
