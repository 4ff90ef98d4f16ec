"""Models and generations."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec

from contracts.api.accounts import Account
from contracts.api.common import AccountId, Metadata, Reference, Reply, Request
from contracts.api.prices import PriceLine, PriceRule, QuoteId
from contracts.api.themes import Subject
from contracts.jobs import JobPriority, LogLine
from contracts.limits import FLAG_TEXT_MAX_CHARACTERS, MODEL_NOTE_MAX_CHARACTERS


class GenerationStatus(enum.StrEnum):
    """Where a generation stands; the last four are final."""

    REQUESTED = "requested"
    SUBMITTING = "submitting"
    SUBMISSION_UNKNOWN = "submission_unknown"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """No further transition leaves this status."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset(
    {
        GenerationStatus.SUCCEEDED,
        GenerationStatus.FAILED,
        GenerationStatus.CANCELLED,
        GenerationStatus.EXPIRED,
    }
)


class Model(Reply, frozen=True, kw_only=True):
    """Something that can be generated. `price` is that of its default input, in credits;
    `price_rule` says that of any other, under version `book` of the price book.

    A deprecated model can still be had as long as it is `available`; `note` is what the operator
    says about it.
    """

    model: str
    title: str
    kind: str
    description: str
    input_schema: dict[str, Any]
    price: int
    price_rule: PriceRule
    book: int
    output: str
    available: bool
    deprecated: bool
    note: str | None
    deadline_seconds: int


class ModelsReply(Reply, frozen=True, kw_only=True):
    """All models; the first is the cheapest that needs only a prompt."""

    items: tuple[Model, ...]


class ModelSwitchRequest(Request, frozen=True, kw_only=True):
    """Take a model off the tenant's offer, or put it back on; `deprecated` null: as the catalogue
    has it. Everybody who may read models sees the note."""

    available: bool
    deprecated: bool | None = None
    note: Annotated[str, msgspec.Meta(max_length=MODEL_NOTE_MAX_CHARACTERS)] | None = None


class GenerationRequest(Request, frozen=True, kw_only=True):
    """Ask for a generation; its price is debited in the same transaction. With `quote_id` that is
    the quoted one.

    A `theme` brings its model, which may then be left out, its prompt with `subject` in it, and its
    settings; whatever stands in `input` is taken instead of the theme's.

    What has a `low` priority costs the same, and is begun once nothing of normal priority waits, or
    after ten minutes; the provider is told as well.
    """

    account_id: AccountId
    model: str | None = None
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    theme: str | None = None
    subject: Subject | None = None
    quote_id: QuoteId | None = None
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)
    priority: JobPriority = JobPriority.NORMAL


class Progress(Reply, frozen=True, kw_only=True):
    """What the provider said of a generation that is under way, when it was last asked.

    `provider_status` is the provider's own word, `queue_position` how many wait before it, `logs`
    the newest lines that the model wrote, the newest last.
    """

    provider_status: str
    queue_position: int | None
    logs: tuple[LogLine, ...]
    seen_at: datetime


class Failure(Reply, frozen=True, kw_only=True):
    """Why a generation ended without a result; `retryable`: asking again may help.

    `message` is for people, in the language of `Accept-Language`, and `message_key` names it for
    ever; `provider_message` is what the provider said, in its own words.
    """

    reason: str
    message_key: str
    message: str
    provider_message: str | None
    retryable: bool


class Result(Reply, frozen=True, kw_only=True):
    """The stored asset; `url` serves it until `expires_at`, a new read gives a new one. So does
    `thumbnail_url` a small JPEG of it, where one was made."""

    url: str
    content_type: str
    size_bytes: int
    sha256: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    expires_at: datetime
    thumbnail_url: str | None = None


class FlagReason(enum.StrEnum):
    """What is wrong with a result, or with what was asked for."""

    ILLEGAL = "illegal"
    SEXUAL = "sexual"
    VIOLENT = "violent"
    HATEFUL = "hateful"
    PRIVATE_PERSON = "private_person"
    COPYRIGHT = "copyright"
    BROKEN = "broken"
    OTHER = "other"


class FlagRequest(Request, frozen=True, kw_only=True):
    """Report a generation. `text` is personal: it is kept encrypted with the account's data."""

    reason: FlagReason
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=FLAG_TEXT_MAX_CHARACTERS)] | None = (
        None
    )


class Flag(Reply, frozen=True, kw_only=True):
    """One report about a generation; `text` is null where none was given, or it was erased."""

    flag_id: str | None
    generation_id: str
    account_id: str
    reason: FlagReason
    text: str | None
    created_at: datetime


class FlagReply(Reply, frozen=True, kw_only=True):
    """The outcome of reporting a generation."""

    position: int | None
    recorded_at: datetime
    flag: Flag


class FlagsReply(Reply, frozen=True, kw_only=True):
    """Everything that was reported about a generation, the newest first."""

    items: tuple[Flag, ...]


class Flagged(Reply, frozen=True, kw_only=True):
    """That a generation was reported: how often, for which reasons, and when."""

    count: int
    reasons: tuple[FlagReason, ...]
    first_at: datetime
    last_at: datetime


class Generation(Reply, frozen=True, kw_only=True):
    """One generation with its money: `charged` less `refunded` is what it cost.

    `price_line` says how the price came about; older generations have none. `theme` is the one that
    it was ordered by, `input` all of what the model is told. `results` are all that was made,
    `result` the first of them; both are empty since `media_removed_at`. `progress` is null once it
    has ended, and until its provider has said anything; `flagged` is null while nobody has
    reported it.
    """

    generation_id: str | None
    account_id: str
    model: str
    status: GenerationStatus
    input: dict[str, Any]
    price: int
    price_line: PriceLine | None
    charged: int
    refunded: int
    debit_id: str | None
    refund_id: str | None
    quote_id: str | None
    reference: str | None
    metadata: dict[str, Any]
    attempts: int
    failure: Failure | None
    result: Result | None
    results: tuple[Result, ...]
    cancel_requested_at: datetime | None
    media_removed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    theme: str | None = None
    progress: Progress | None = None
    priority: JobPriority = JobPriority.NORMAL
    flagged: Flagged | None = None


class GenerationReply(Reply, frozen=True, kw_only=True):
    """The outcome of a generation request."""

    position: int | None
    recorded_at: datetime
    account: Account
    generation: Generation
