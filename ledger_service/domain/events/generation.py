"""Events on generation streams. They are storage: a published version never changes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from contracts.api.generations import FlagReason
from contracts.api.prices import PriceLine
from contracts.jobs import Asset, JobPriority, ProviderUrls
from ledger_service.domain.events.account import Answer


class GenerationEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of generation events."""


class GenerationRequested(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Someone asked for a generation; `price` credits were debited with it.

    `private` is the digest of the vault entry with its input and metadata, `price_line` how the
    price came about, `quote_id` the quote that promised it, `theme` what it was ordered by.
    """

    generation_id: str
    account_id: str
    model: str
    price: int
    debit_id: str | None
    deadline: datetime
    reference: str | None = None
    private: str
    price_line: PriceLine | None = None
    quote_id: str | None = None
    theme: str | None = None
    priority: JobPriority = JobPriority.NORMAL


class SubmissionStarted(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A worker got the permission to POST to the provider until `post_before`."""

    attempt_id: str
    number: int
    post_before: datetime
    worker: str


class SubmissionLost(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody knows whether the provider has the attempt."""

    attempt_id: str
    reason: str


class GenerationSubmitted(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The provider has the attempt under `request_id`."""

    attempt_id: str
    request_id: str
    urls: ProviderUrls | None = None


class GenerationStarted(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The provider is known to work on it."""

    attempt_id: str


class AttemptAbandoned(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The provider certainly never took the attempt; another one may follow."""

    attempt_id: str
    reason: str


class DeadlinePassed(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It took too long: cancel at the provider and wait for its verdict until `grace_until`."""

    grace_until: datetime


class CancelRequested(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Its owner does not want it any more. What the provider says in the end decides: a result that
    comes all the same is delivered and paid."""


class GenerationDeleted(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Its owner deleted it: it is shown no more and its media go. What it cost stays."""


class MediaRemoved(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing of its assets is left in our storage: it was deleted, or kept long enough."""


class GenerationFlagged(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody reported it. `private` is the digest of the vault entry with their own words.

    `command` is the first answer to that, as account events keep theirs.
    """

    flag_id: str
    reason: FlagReason
    private: str | None = None
    command: Answer | None = None


class GenerationSucceeded(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The assets are verified and in our storage, until `media_until` if that is known.

    The debit stands, save for what was paid for and not delivered: that was `refunded`.
    """

    attempt_id: str
    asset: Asset
    more: tuple[Asset, ...] = ()
    refund_id: str | None = None
    refunded: int = 0
    billable_units: str | None = None
    media_until: datetime | None = None


class GenerationEnded(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the endings without an asset; `refund_id` names the compensation, if any."""

    reason: str
    retryable: bool = False
    private: str | None = None
    attempt_id: str | None = None
    refund_id: str | None = None
    refunded: int = 0
    billable_units: str | None = None


class GenerationFailed(GenerationEnded, frozen=True, kw_only=True, omit_defaults=True):
    """The provider's verdict was a failure, or the asset could not be had."""


class GenerationCancelled(GenerationEnded, frozen=True, kw_only=True, omit_defaults=True):
    """It ended because it was cancelled."""


class GenerationExpired(GenerationEnded, frozen=True, kw_only=True, omit_defaults=True):
    """Its deadline passed without a verdict; what the provider bills is an open question."""


class LateFactRecorded(GenerationEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Something about an attempt became known after the end. It moves no credits: our cost."""

    attempt_id: str
    fact: str
    request_id: str | None = None
    billable_units: str | None = None
