"""The state of one generation, and the mechanical row beside it."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from contracts.api.generations import FlagReason, GenerationStatus
from contracts.api.prices import PriceLine
from contracts.jobs import Asset, JobPriority, ProviderUrls, Step
from contracts.limits import LOW_PRIORITY_WAIT_MAX_SECONDS

LOW_WAITS_MAX: Final = timedelta(seconds=LOW_PRIORITY_WAIT_MAX_SECONDS)


class AttemptPhase(enum.StrEnum):
    """What is known of an attempt at the provider."""

    SUBMITTING = "submitting"
    LOST = "lost"
    SUBMITTED = "submitted"
    ABANDONED = "abandoned"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One submit to the provider; it exists before the POST."""

    attempt_id: str
    number: int
    started_at: datetime
    post_before: datetime
    phase: AttemptPhase = AttemptPhase.SUBMITTING
    request_id: str | None = None
    urls: ProviderUrls | None = None
    late_facts: tuple[str, ...] = ()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Why it ended without an asset; `private` is the vault's digest of the message."""

    reason: str
    retryable: bool
    private: str | None


class FlagState(msgspec.Struct, frozen=True, kw_only=True):
    """One report about it; `private` is the vault's digest of its words."""

    flag_id: str
    reason: FlagReason
    private: str | None
    created_at: datetime


class GenerationState(msgspec.Struct, frozen=True, kw_only=True):
    """One generation. `paused` counts attempts that were held back unsent."""

    generation_id: str
    owner: str
    account_id: str
    model: str
    status: GenerationStatus
    price: int
    debit_id: str | None
    deadline: datetime
    private: str
    version: int
    created_at: datetime
    updated_at: datetime
    reference: str | None = None
    price_line: PriceLine | None = None
    quote_id: str | None = None
    theme: str | None = None
    grace_until: datetime | None = None
    finished_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    ending: Ending | None = None
    asset: Asset | None = None
    more_assets: tuple[Asset, ...] = ()
    refund_id: str | None = None
    refunded: int = 0
    paused: int = 0
    cancel_requested_at: datetime | None = None
    deleted_at: datetime | None = None
    media_removed_at: datetime | None = None
    priority: JobPriority = JobPriority.NORMAL
    flags: tuple[FlagState, ...] = ()

    @property
    def assets(self) -> tuple[Asset, ...]:
        """All of them, the first one first."""
        return () if self.asset is None else (self.asset, *self.more_assets)

    @property
    def wants_cancel(self) -> bool:
        """The provider is to be asked to stop: the owner or the deadline wants it."""
        return self.cancel_requested_at is not None or self.grace_until is not None

    @property
    def tries(self) -> int:
        """Attempts that count: those that a pause of the provider held back do not."""
        return len(self.attempts) - self.paused

    @property
    def live_attempt(self) -> Attempt | None:
        """The attempt that may be at the provider; at most one at a time."""
        if self.attempts and self.attempts[-1].phase is not AttemptPhase.ABANDONED:
            return self.attempts[-1]
        return None

    def attempt(self, attempt_id: str) -> Attempt | None:
        """The attempt with this id."""
        return next((a for a in self.attempts if a.attempt_id == attempt_id), None)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is merely mechanical about a generation: who may work on it, and when to look next.

    `due_at` is null once the generation is final. `unreported` counts claims in a row that no
    worker came back from, `fetches` the fetches in a row that did not get a completed job's result.
    `is_hinted`: a webhook came while a worker was at it, so whatever that worker finds, look again
    at once. `flags` is how often it was reported.
    """

    generation_id: str
    owner: str
    model: str
    status: GenerationStatus
    created_at: datetime
    due_at: datetime | None
    deadline: datetime
    epoch: int = 1
    fence: int = 0
    lease_until: datetime | None = None
    to_fetch: bool = False
    fetches: int = 0
    unreported: int = 0
    is_hinted: bool = False
    worker: str | None = None
    priority: JobPriority = JobPriority.NORMAL
    flags: int = 0

    @property
    def fence_text(self) -> str:
        """The fence as a worker carries it."""
        return f"{self.epoch}.{self.fence}"

    @property
    def begun_on(self) -> str:
        """The day of UTC on which it was asked for, as `window_of` names it."""
        return f"{self.created_at.astimezone(UTC):%Y-%m-%d}"

    def is_leased(self, now: datetime) -> bool:
        """A worker may be at it."""
        return self.lease_until is not None and self.lease_until > now


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was claimed: permission for the worker that asked."""

    state: GenerationState
    job: Job
    step: Step


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """What a report did; `claimed` is the next step, already claimed for the same worker."""

    accepted: bool
    claimed: Claimed | None = None
