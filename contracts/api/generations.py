"""Models and generations."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import msgspec

from contracts.api.accounts import Account
from contracts.api.common import AccountId, Metadata, Reference, Reply, Request


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
    """Something that can be generated, for a fixed integer price in credits."""

    model: str
    title: str
    kind: str
    description: str
    input_schema: dict[str, Any]
    price: int
    output: str
    available: bool
    deadline_seconds: int


class ModelsReply(Reply, frozen=True, kw_only=True):
    """All models; the first is the cheapest that needs only a prompt."""

    items: tuple[Model, ...]


class GenerationRequest(Request, frozen=True, kw_only=True):
    """Ask for a generation; its price is debited in the same transaction."""

    account_id: AccountId
    model: str
    input: dict[str, Any]
    quote_id: str | None = None
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


class Failure(Reply, frozen=True, kw_only=True):
    """Why a generation ended without a result; `retryable`: asking again may help."""

    reason: str
    message: str
    retryable: bool


class Result(Reply, frozen=True, kw_only=True):
    """The stored asset; `url` serves it until `expires_at`, a new read gives a new one."""

    url: str
    content_type: str
    size_bytes: int
    sha256: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    expires_at: datetime


class Generation(Reply, frozen=True, kw_only=True):
    """One generation with its money: `charged` less `refunded` is what it cost.

    `media_removed_at`: since then its result is no longer kept, and `result` is null.
    """

    generation_id: str | None
    account_id: str
    model: str
    status: GenerationStatus
    input: dict[str, Any]
    price: int
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
    cancel_requested_at: datetime | None
    media_removed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class Progress(Reply, frozen=True, kw_only=True):
    """What the provider said of a generation that is under way, when it was last asked.

    `provider_status` is the provider's own word, `queue_position` how many wait before it.
    """

    provider_status: str
    queue_position: int | None
    seen_at: datetime


class GenerationReply(Reply, frozen=True, kw_only=True):
    """The outcome of a generation request."""

    position: int | None
    recorded_at: datetime
    account: Account
    generation: Generation
