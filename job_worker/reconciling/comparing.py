"""Ledger, provider and storage against each other; pure: all three have been read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from contracts.forgetting import UnforgottenReply
from contracts.reconciling import Drift, Report
from job_worker.providers.port import Listed
from job_worker.reconciling.books import Attempt, Books, Generation, Known
from job_worker.reconciling.report import Collector

NONE_UNFORGOTTEN: Final = UnforgottenReply(count=0, items=())


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The stretch of time that is judged: from `since` on, before `until`."""

    since: datetime
    until: datetime

    def holds(self, at: datetime | None) -> bool:
        """Whether an instant lies in it."""
        return at is not None and self.since <= at < self.until


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the storage lists it."""

    size_bytes: int
    modified_at: datetime


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `known_before` is what the log said before the other two were read, `books`
    what it said after them. Requests are by id, files by key, attempt ids by the mark that their
    requests bear. `unforgotten` is what the provider was to forget within the window, in vain."""

    read_at: datetime
    known_before: Known
    books: Books
    requests: Mapping[str, Listed]
    files: Mapping[str, StoredFile]
    marks: Mapping[str, str]
    listing_complete: bool
    unforgotten: UnforgottenReply = NONE_UNFORGOTTEN


def compare(sides: Sides, window: Window, examples_max: int) -> Report:
    """Everything that drifts within the window."""
    found = Collector(examples_max)
    submits, unmarked = _whose(sides, window, found)
    for attempt_id, requests in submits.items():
        _judge_submits(sides.books, sides.books.attempts[attempt_id], requests, window, found)
    unlisted = _unlisted(sides, window, submits)
    if sides.listing_complete:
        for attempt in unlisted:
            found.add(Drift.UNLISTED_ATTEMPT, **_names(attempt), request_id=attempt.request_id)
    _judge_late_successes(sides.books, window, found)
    _judge_assets(sides, window, found)
    _judge_files(sides, window, found)
    _judge_unforgotten(sides.unforgotten, found)
    books = sides.books
    return Report(
        since=window.since,
        until=window.until,
        generations=sum(window.holds(g.requested_at) for g in books.generations.values()),
        attempts=sum(window.holds(a.started_at) for a in books.attempts.values()),
        requests=sum(window.holds(request.sent_at) for request in sides.requests.values()),
        files=sum(window.holds(file.modified_at) for file in sides.files.values()),
        unmarked=unmarked,
        unconfirmed=0 if sides.listing_complete else len(unlisted),
        findings=found.findings(),
    )


def _whose(sides: Sides, window: Window, found: Collector) -> tuple[dict[str, list[Listed]], int]:
    """The requests of each attempt, and how many there are that bear no mark at all."""
    attempts = sides.books.attempts
    by_request = {a.request_id: a.attempt_id for a in attempts.values() if a.request_id}
    submits: dict[str, list[Listed]] = defaultdict(list)
    unmarked = 0
    for request in sides.requests.values():
        attempt_id = request.attempt_id if request.attempt_id in attempts else None
        attempt_id = attempt_id or by_request.get(request.request_id)
        if attempt_id is None and request.attempt_id is None and request.mark is not None:
            attempt_id = sides.marks.get(request.mark)
        if attempt_id is not None:
            submits[attempt_id].append(request)
        elif not window.holds(request.sent_at):
            continue
        elif request.attempt_id or request.generation_id:
            found.add(
                Drift.UNKNOWN_REQUEST,
                **_at_provider(request),
                generation_id=request.generation_id,
                attempt_id=request.attempt_id,
            )
        else:
            unmarked += 1
    return submits, unmarked


def _judge_submits(
    books: Books, attempt: Attempt, requests: list[Listed], window: Window, found: Collector
) -> None:
    """One attempt is one request, and what was made is paid for."""
    if not any(window.holds(request.sent_at) for request in requests):
        return
    first, *more = sorted(
        requests, key=lambda r: (r.request_id != attempt.request_id, r.sent_at, r.request_id)
    )
    if more:
        ids = [request.request_id for request in (first, *more)]
        found.add(Drift.REPEATED_SUBMIT, **_names(attempt), request_ids=ids)
    if attempt.is_abandoned:
        found.add(Drift.ABANDONED_REQUEST, **_names(attempt), **_at_provider(first))
        return
    generation = books.generations[attempt.generation_id]
    is_costly = first.was_made or first.ended_at is None
    if generation.was_refunded and is_costly and attempt.late_success_at is None:
        found.add(
            Drift.REFUNDED_REQUEST,
            **_names(attempt),
            **_at_provider(first),
            ending=generation.ending,
        )


def _unlisted(sides: Sides, window: Window, submits: Mapping[str, list[Listed]]) -> list[Attempt]:
    """Attempts that the log had called submitted before the listing was read."""
    return [
        attempt
        for attempt in sides.books.attempts.values()
        if window.holds(attempt.started_at)
        and attempt.attempt_id in sides.known_before.submitted
        and attempt.attempt_id not in submits
    ]


def _judge_late_successes(books: Books, window: Window, found: Collector) -> None:
    for attempt in books.attempts.values():
        if window.holds(attempt.late_success_at):
            found.add(Drift.LATE_SUCCESS, **_names(attempt), request_id=attempt.request_id)


def _judge_assets(sides: Sides, window: Window, found: Collector) -> None:
    """Every success has its files, in the size that was recorded."""
    for generation in sides.books.generations.values():
        is_settled = generation.generation_id in sides.known_before.succeeded
        is_over = _may_be_gone(generation, sides.read_at)
        if not is_settled or is_over or not window.holds(generation.ended_at):
            continue
        for asset in generation.assets:
            file = sides.files.get(asset.key)
            names = {"generation_id": generation.generation_id, "key": asset.key}
            if file is None:
                found.add(Drift.MISSING_FILE, **names, size_bytes=asset.size_bytes)
            elif file.size_bytes != asset.size_bytes:
                sizes = {"size_bytes": asset.size_bytes, "stored_bytes": file.size_bytes}
                found.add(Drift.WRONG_SIZE, **names, **sizes)


def _judge_files(sides: Sides, window: Window, found: Collector) -> None:
    """Every file is the result of a success, or about to become one."""
    generations = sides.books.generations
    for key, file in sides.files.items():
        if not window.holds(file.modified_at):
            continue
        generation_id = key.partition("/")[0]
        generation = generations.get(generation_id)
        if generation is None:
            found.add(Drift.FOREIGN_FILE, key=key, size_bytes=file.size_bytes)
        elif generation_id in sides.known_before.removed:
            found.add(Drift.UNREMOVED_FILE, key=key, generation_id=generation_id)
        elif generation.ending is not None and not any(a.key == key for a in generation.assets):
            found.add(
                Drift.FOREIGN_FILE,
                key=key,
                size_bytes=file.size_bytes,
                generation_id=generation_id,
                ending=generation.ending,
            )


def _judge_unforgotten(unforgotten: UnforgottenReply, found: Collector) -> None:
    for item in unforgotten.items:
        found.add(Drift.KEPT_PAYLOADS, generation_id=item.generation_id, reason=item.reason)
    found.add_unseen(Drift.KEPT_PAYLOADS, unforgotten.count - len(unforgotten.items))


def _may_be_gone(generation: Generation, now: datetime) -> bool:
    """Its removal is recorded, or under way: files go first."""
    is_over = generation.media_until is not None and generation.media_until <= now
    return generation.is_removed or generation.is_deleted or is_over


def _names(attempt: Attempt) -> dict[str, str]:
    return {"generation_id": attempt.generation_id, "attempt_id": attempt.attempt_id}


def _at_provider(request: Listed) -> dict[str, str | int | None]:
    return {
        "request_id": request.request_id,
        "endpoint": request.endpoint,
        "status_code": request.status_code,
    }
