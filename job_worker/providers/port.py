"""The port to a provider: what the steps need of one, whatever protocol it speaks.

An adapter is one module beside this one and one entry in `main.PROVIDERS`. It raises
`ProviderRejected` and `ProviderUnavailable` only, and holds itself to one rule above all: **a
submit is one POST**. It ends accepted, refused, certainly not sent, or unknown; the ledger decides
what follows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from contracts.jobs import Claim, LogLine, ProviderUrls


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The provider took the job. `urls` is None when its answer held the request id alone."""

    request_id: str
    urls: ProviderUrls | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job stands: the provider's own word, and whether its result can be read. `logs` are
    the newest lines that the model wrote, as many and as long as a report takes."""

    provider_status: str
    completed: bool
    queue_position: int | None = None
    logs: tuple[LogLine, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A successful result: the URLs of its assets, at least one, and what it costs."""

    asset_urls: tuple[str, ...]
    billable_units: str | None = None


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the provider's own listing shows it.

    `ended_at` and `status_code` (an HTTP one) are null while it runs. The ids are those of its
    tags, if it shows any; `mark` is what else may tell whose it is, see `Lists.mark_of`.
    """

    request_id: str
    endpoint: str
    sent_at: datetime
    ended_at: datetime | None = None
    status_code: int | None = None
    generation_id: str | None = None
    attempt_id: str | None = None
    mark: str | None = None

    @property
    def was_made(self) -> bool:
        """It ended with a result, which is what providers bill."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Provider(Protocol):
    """Jobs at one provider, under one key.

    `listing_complete`: whoever is not found there was certainly never accepted. `media_hosts`:
    where its assets may come from, in the words of `downloads.MediaHosts`.
    """

    listing_complete: bool
    media_hosts: tuple[str, ...]

    async def submit(self, claim: Claim) -> Accepted:
        """POST the job, once.

        Raises `ProviderRejected` with `sent` false when the provider refused it,
        `ProviderUnavailable` with `not_sent` when no byte left, and without it when the job may
        or may not exist.
        """

    async def find(self, claim: Claim) -> str | None:
        """The request id of a submit whose answer was lost; None when the provider knows none."""

    async def status(self, claim: Claim) -> Status:
        """Where the job stands; raises the verdict when it has failed or was cancelled, and
        `ProviderUnavailable` (`not_found`) when nobody there knows it."""

    async def cancel(self, claim: Claim) -> bool:
        """Ask to stop the job; False when that can have no effect. Only its status tells how it
        ended."""

    async def result(self, claim: Claim) -> Result:
        """Read a completed job's result; raises the verdict when it is a failure, and
        `ProviderUnavailable` (`not_complete`) when there is none yet."""

    async def close(self) -> None:
        """Close every connection."""


@runtime_checkable
class Forgets(Protocol):
    """What a provider may offer besides: to delete what it keeps of a request."""

    async def forget(self, request_id: str) -> None:
        """Delete its input, its output and their media; of one that is gone nothing is left to
        delete. Raises `ProviderUnavailable` when that cannot be done now."""


@runtime_checkable
class Lists(Protocol):
    """What a provider may offer besides: a listing of all that was submitted under our key."""

    def mark_of(self, attempt_id: str) -> str:
        """What marks the requests of an attempt where the listing shows no tags."""

    def list_requests(
        self, endpoints: Sequence[str], since: datetime, until: datetime
    ) -> AsyncIterator[Listed]:
        """All requests to these endpoints that were sent in a stretch of time, in any order; one
        may come twice. Raises `ProviderUnavailable`."""
