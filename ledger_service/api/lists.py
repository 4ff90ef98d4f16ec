"""Lists that are pages of an account's history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from contracts.api.common import Page
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.query import PageQuery
from ledger_service.api.shapes import Private, private_digest
from ledger_service.errors import Rejected
from ledger_service.store.history import BEFORE_ALL, HistoryFilter
from ledger_service.store.reads import Reads
from ledger_service.store.stored import StoredEvent

Item = TypeVar("Item")


async def history_page(
    call: Call, account_id: str, query: PageQuery, wanted: HistoryFilter
) -> tuple[list[StoredEvent], str | None]:
    """The matching events of one page, newest first, and the cursor of the next page.

    Raises `Rejected` when there is no such account.
    """
    await call.at_least(query.min_position)
    owner, cursors = call.owner(account_id), call.services.cursors
    before = int(cursors.read(query.cursor, owner, wanted)) if query.cursor else BEFORE_ALL
    page = await call.services.reads.history.page(owner, wanted, before, query.limit)
    if page is None:
        raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
    if page.next_before is None:
        return page.events, None
    return page.events, cursors.make(str(page.next_before), owner, wanted)


async def private_of(reads: Reads, events: Iterable[StoredEvent]) -> dict[int, Private | None]:
    """What the vault keeps of these events of one account, by version; null: nothing (left)."""
    stored = list(events)
    digests = {event.version: private_digest(event.event) for event in stored}
    found = await reads.private(
        (event.owner, digest) for event in stored if (digest := digests[event.version])
    )
    return {version: found.get(digest or "") for version, digest in digests.items()}


def page_of(items: Iterable[Item], next_cursor: str | None) -> Page[Item]:
    """One page."""
    return Page(items=tuple(items), next_cursor=next_cursor)
