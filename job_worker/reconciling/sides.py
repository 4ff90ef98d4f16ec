"""Reads the three sides. Each raises `SideUnreadable`, and nothing else, when it cannot be read."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import obstore

from contracts.client import AuditClient, LedgerError, WorkClient
from contracts.forgetting import UnforgottenReply
from contracts.media import UPLOADS_FOLDER
from job_worker.errors import ProviderUnavailable, SideUnreadable
from job_worker.media import open_store
from job_worker.providers.port import Listed, Lists, Provider
from job_worker.reconciling.books import Books
from job_worker.reconciling.comparing import StoredFile, Window

LOOKBACK: Final = timedelta(days=2)
"""How much earlier than the window the log is read from: more than any generation takes, so that
all which happened in the window is of generations whose beginning is known."""
LISTED_AROUND: Final = timedelta(minutes=5)
"""How much more than the window the provider is asked for: clocks differ, and submits follow their
attempts by seconds."""
HALVING_STOPS_AT: Final = 5_000
"""Positions that are not worth another look for a later start: one request reads as many."""

Tell = Callable[[str], None]


class LogReader:
    """Reads one tenant's log, from some instant to its end, and later on from there. A start that
    is up to `halving_stops_at` positions too early is good enough."""

    def __init__(self, client: AuditClient, halving_stops_at: int = HALVING_STOPS_AT) -> None:
        self._client = client
        self._halving_stops_at = halving_stops_at
        self._after = 0

    async def start_at(self, since: datetime) -> None:
        """Pass over what was recorded before `since`, by halving: positions grow with time."""
        try:
            low, high = 0, (await self._client.events(limit=1)).head
            while high - low > self._halving_stops_at:
                middle = (low + high) // 2
                recorded_at = await self._recorded_after(middle)
                if recorded_at is not None and recorded_at < since:
                    low = middle
                else:
                    high = middle
        except LedgerError as error:
            raise SideUnreadable("ledger", str(error)) from None
        self._after = low

    async def read_on(self, books: Books, tell: Tell) -> None:
        """Fold everything up to the log's head."""
        head = self._after + 1
        while self._after < head:
            try:
                page = await self._client.events(self._after)
            except LedgerError as error:
                raise SideUnreadable("ledger", str(error)) from None
            for event in page.items:
                books.add(event)
            self._after, head = page.next_after, page.head
            tell(f"ledger: {self._after}/{head} positions of the log")

    async def _recorded_after(self, position: int) -> datetime | None:
        """When the tenant's first event past a position was recorded; None when there is none."""
        head = position + 1
        while position < head:
            page = await self._client.events(position, limit=1)
            if page.items:
                return page.items[0].recorded_at
            position, head = page.next_after, page.head
        return None


async def read_endpoints(client: WorkClient) -> dict[str, set[str]]:
    """The endpoints of the ledger's catalogue, by provider."""
    try:
        models = await client.models()
    except LedgerError as error:
        raise SideUnreadable("ledger", str(error)) from None
    endpoints: dict[str, set[str]] = defaultdict(set)
    for model in models:
        endpoints[model.provider].add(model.endpoint)
    return endpoints


async def read_unforgotten(client: WorkClient, window: Window) -> UnforgottenReply:
    """What was to be forgotten, and given up within the window."""
    try:
        return await client.unforgotten(window.since, window.until)
    except LedgerError as error:
        raise SideUnreadable("ledger", str(error)) from None


def listing_of(name: str, provider: Provider | None) -> Lists:
    """The provider's listing, if this worker knows both."""
    if provider is None:
        raise SideUnreadable("provider", f"{name} is unknown to this worker")
    if not isinstance(provider, Lists):
        raise SideUnreadable("provider", f"{name} has no listing")
    return provider


async def read_requests(
    provider: Lists, endpoints: Sequence[str], window: Window, tell: Tell
) -> dict[str, Listed]:
    """What the provider has of the window, by request id."""
    found: dict[str, Listed] = {}
    since, until = window.since - LISTED_AROUND, window.until + LISTED_AROUND
    try:
        async for request in provider.list_requests(endpoints, since, until):
            found[request.request_id] = request
            tell(f"provider: {len(found)} requests")
    except ProviderUnavailable as error:
        raise SideUnreadable("provider", error.reason) from None
    return found


async def read_files(storage_url: str, tell: Tell) -> dict[str, StoredFile]:
    """Every file in the storage that should be a result, by key."""
    return await asyncio.to_thread(_list_files, storage_url, tell)


def _list_files(storage_url: str, tell: Tell) -> dict[str, StoredFile]:
    found: dict[str, StoredFile] = {}
    try:
        # Nothing is made, also not the folder of a storage that is not there.
        for some in obstore.list(open_store(storage_url, mkdir=False)):
            for file in some:
                if not file["path"].startswith(f"{UPLOADS_FOLDER}/"):
                    found[file["path"]] = StoredFile(
                        size_bytes=file["size"], modified_at=file["last_modified"]
                    )
            tell(f"storage: {len(found)} files")
    except (OSError, ValueError, obstore.exceptions.BaseError) as error:
        raise SideUnreadable("storage", str(error).partition("\n")[0]) from None
    return found
