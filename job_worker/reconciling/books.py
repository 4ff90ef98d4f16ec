"""What the ledger's log says of generations, as far as others can confirm it.

Read from the stored JSON of a few events, without the ledger's own code: whatever else stands in
them, and every other event, is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from contracts.api.log import Event
from job_worker.errors import SideUnreadable

T = TypeVar("T")


class StoredAsset(msgspec.Struct, frozen=True, kw_only=True):
    """A file that must be in the storage: its key, and its size in bytes; and one beside it."""

    key: str
    size_bytes: int
    thumbnail: StoredAsset | None = None


class Attempt(msgspec.Struct, kw_only=True):
    """One submit. `started_at` is null when it lies before what was read."""

    attempt_id: str
    generation_id: str
    started_at: datetime | None = None
    request_id: str | None = None
    is_abandoned: bool = False
    late_success_at: datetime | None = None


class Generation(msgspec.Struct, kw_only=True):
    """One generation. `ending` is null while it is under way, else its last status; all but
    `succeeded` were refunded."""

    generation_id: str
    model: str = ""
    requested_at: datetime | None = None
    ending: str | None = None
    ended_at: datetime | None = None
    assets: tuple[StoredAsset, ...] = ()
    media_until: datetime | None = None
    is_deleted: bool = False
    is_removed: bool = False

    @property
    def was_refunded(self) -> bool:
        """It ended without a result."""
        return self.ending not in {None, "succeeded"}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the log said at one moment: ids of attempts that the provider has, of generations that
    succeeded, and of those whose media were removed."""

    submitted: frozenset[str]
    succeeded: frozenset[str]
    removed: frozenset[str]


class Books:
    """Generations and attempts by id, folded event by event."""

    def __init__(self) -> None:
        self.generations: dict[str, Generation] = {}
        self.attempts: dict[str, Attempt] = {}
        self.events = 0

    def add(self, event: Event) -> None:
        """Fold one event; raises `SideUnreadable` for one that is not what its topic says."""
        self.events += 1
        note = _NOTES.get(event.topic)
        if note is None:
            return
        generation_id = event.stream.rpartition("/")[2]
        generation = self.generations.setdefault(
            generation_id, Generation(generation_id=generation_id)
        )
        try:
            note(self, generation, event)
        except msgspec.ValidationError as error:
            place = f"{event.topic} at position {event.position}"
            raise SideUnreadable("ledger", f"{place}: {error}") from None

    def known(self) -> Known:
        """What is known by now."""
        succeeded = [g for g in self.generations.values() if g.ending == "succeeded"]
        return Known(
            submitted=frozenset(a.attempt_id for a in self.attempts.values() if a.request_id),
            succeeded=frozenset(g.generation_id for g in succeeded),
            removed=frozenset(g.generation_id for g in succeeded if g.is_removed),
        )

    def attempt(self, generation: Generation, attempt_id: str) -> Attempt:
        """The attempt, also when its beginning was not read."""
        made = Attempt(attempt_id=attempt_id, generation_id=generation.generation_id)
        return self.attempts.setdefault(attempt_id, made)


class _Requested(msgspec.Struct, frozen=True):
    model: str


class _OfAttempt(msgspec.Struct, frozen=True):
    attempt_id: str


class _Submitted(msgspec.Struct, frozen=True):
    attempt_id: str
    request_id: str


class _Succeeded(msgspec.Struct, frozen=True):
    asset: StoredAsset
    more: tuple[StoredAsset, ...] = ()
    media_until: datetime | None = None


class _LateFact(msgspec.Struct, frozen=True):
    attempt_id: str
    fact: str
    request_id: str | None = None


def _read(event: Event, kind: type[T]) -> T:
    return msgspec.convert(event.data, kind)


def _requested(books: Books, generation: Generation, event: Event) -> None:
    generation.model = _read(event, _Requested).model
    generation.requested_at = event.recorded_at


def _started(books: Books, generation: Generation, event: Event) -> None:
    attempt = books.attempt(generation, _read(event, _OfAttempt).attempt_id)
    attempt.started_at = event.recorded_at


def _submitted(books: Books, generation: Generation, event: Event) -> None:
    told = _read(event, _Submitted)
    books.attempt(generation, told.attempt_id).request_id = told.request_id


def _abandoned(books: Books, generation: Generation, event: Event) -> None:
    books.attempt(generation, _read(event, _OfAttempt).attempt_id).is_abandoned = True


def _succeeded(books: Books, generation: Generation, event: Event) -> None:
    told = _read(event, _Succeeded)
    assets = (told.asset, *told.more)
    thumbnails = [asset.thumbnail for asset in assets if asset.thumbnail is not None]
    generation.assets = (*assets, *thumbnails)
    generation.media_until = told.media_until
    _ended(books, generation, event)


def _ended(books: Books, generation: Generation, event: Event) -> None:
    generation.ending = event.topic.removeprefix("generation_").partition(".")[0]
    generation.ended_at = event.recorded_at


def _deleted(books: Books, generation: Generation, event: Event) -> None:
    generation.is_deleted = True


def _removed(books: Books, generation: Generation, event: Event) -> None:
    generation.is_removed = True


def _late_fact(books: Books, generation: Generation, event: Event) -> None:
    told = _read(event, _LateFact)
    attempt = books.attempt(generation, told.attempt_id)
    attempt.request_id = attempt.request_id or told.request_id
    if told.fact == "succeeded":
        attempt.late_success_at = event.recorded_at


_NOTES: Final[dict[str, Callable[[Books, Generation, Event], Any]]] = {
    "generation_requested.v1": _requested,
    "submission_started.v1": _started,
    "generation_submitted.v1": _submitted,
    "attempt_abandoned.v1": _abandoned,
    "generation_succeeded.v1": _succeeded,
    "generation_failed.v1": _ended,
    "generation_cancelled.v1": _ended,
    "generation_expired.v1": _ended,
    "generation_deleted.v1": _deleted,
    "media_removed.v1": _removed,
    "late_fact_recorded.v1": _late_fact,
}
