"""`python -m job_worker reconcile`: compare, print what drifts, and say so by the exit status."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from contracts.client import AuditClient, WorkClient
from contracts.reconciling import Report
from job_worker.errors import BadSettings, SideUnreadable
from job_worker.main import PROVIDERS
from job_worker.providers.port import Listed
from job_worker.reconciling.books import Books
from job_worker.reconciling.comparing import Sides, Window, compare
from job_worker.reconciling.report import MEANINGS
from job_worker.reconciling.sides import (
    LOOKBACK,
    LogReader,
    Tell,
    listing_of,
    read_endpoints,
    read_files,
    read_requests,
    read_unforgotten,
)
from job_worker.settings import Settings, read_settings

WINDOW_DEFAULT: Final = timedelta(days=1)
PROGRESS_SECONDS: Final = 5.0
DRIFTS, UNREADABLE = 1, 2


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be compared: a stretch of time, with endpoints (by provider) that the catalogue
    has no more; and how many examples of each kind to show."""

    window: Window
    more_endpoints: tuple[tuple[str, str], ...] = ()
    examples_max: int


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """0 when nothing drifts, 1 when something does, 2 when it could not be found out."""
    try:
        settings = read_settings(environment)
        if not settings.audit_keys:
            raise BadSettings(("LEDGER_AUDIT_KEY is not set: an API key with the scope `audit`",))
        question = Question(
            window=_window(options.since, options.until),
            more_endpoints=tuple(options.endpoint),
            examples_max=options.examples,
        )
        report = asyncio.run(reconcile(settings, question, Progress()))
    except BadSettings as error:
        print("\n".join(error.faults), file=sys.stderr)
        return UNREADABLE
    except SideUnreadable as error:
        print(error, file=sys.stderr)
        return UNREADABLE
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        print("\n".join(_lines(report)))
    return DRIFTS if report.drifts else 0


async def reconcile(settings: Settings, question: Question, tell: Tell) -> Report:
    """Read all sides and compare them; changes nothing. Raises `SideUnreadable`."""
    async with AsyncExitStack() as stack:
        readers = []
        for key in settings.audit_keys:
            client = await stack.enter_async_context(AuditClient(settings.ledger_url, key.value))
            readers.append(LogReader(client))
        work_key = settings.ledger_work_key.value
        work = await stack.enter_async_context(
            WorkClient(settings.ledger_url, work_key, worker="reconcile")
        )
        providers = {name: make(settings) for name, make in PROVIDERS.items()}
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        endpoints = await read_endpoints(work)
        for name, endpoint in question.more_endpoints:
            endpoints.setdefault(name, set()).add(endpoint)
        listings = {name: listing_of(name, providers.get(name)) for name in endpoints}
        books = Books()
        for reader in readers:
            await reader.start_at(question.window.since - LOOKBACK)
            await reader.read_on(books, tell)
        known_before = books.known()
        files = await read_files(settings.storage_url, tell)
        requests: dict[str, Listed] = {}
        for name, listing in listings.items():
            wanted = sorted(endpoints[name])
            requests |= await read_requests(listing, wanted, question.window, tell)
        for reader in readers:
            await reader.read_on(books, tell)
        unforgotten = await read_unforgotten(work, question.window)
    sides = Sides(
        read_at=datetime.now(UTC),
        known_before=known_before,
        books=books,
        requests=requests,
        files=files,
        marks={made.mark_of(id_): id_ for made in listings.values() for id_ in books.attempts},
        listing_complete=settings.provider_listing_complete,
        unforgotten=unforgotten,
    )
    return compare(sides, question.window, question.examples_max)


class Progress:
    """Tells a person, now and then, how far a long comparison has come."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print a line, unless one was printed just before."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            print(text, file=sys.stderr, flush=True)


def _window(since: datetime | None, until: datetime | None) -> Window:
    """What was asked for, but no later than now: the rest is still to come."""
    now = datetime.now(UTC)
    end = min(until or now, now)
    begin = since or end - WINDOW_DEFAULT
    if begin >= end:
        raise BadSettings((f"nothing lies between {begin.isoformat()} and {end.isoformat()}",))
    return Window(since=begin, until=end)


def _lines(report: Report) -> Iterable[str]:
    yield f"from {report.since.isoformat()} to {report.until.isoformat()}"
    yield f"ledger    {report.generations} generations, {report.attempts} attempts"
    yield f"provider  {report.requests} requests, {report.unmarked} of them without a mark of ours"
    yield f"storage   {report.files} files"
    if report.unconfirmed:
        yield (
            f"{report.unconfirmed} attempts are not in the provider's listing, which is not known"
            " to be complete"
        )
    for finding in report.findings:
        yield f"DRIFT {finding.drift} {finding.count}: {MEANINGS[finding.drift]}"
        for example in finding.examples:
            yield "  " + " ".join(f"{name}={_shown(example[name])}" for name in example)
        if finding.count > len(finding.examples):
            yield f"  and {finding.count - len(finding.examples)} more"
    if not report.drifts:
        yield "nothing drifts"


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
