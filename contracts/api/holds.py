"""Holds: credits set aside for a spend whose final size is not known yet."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec

from contracts import limits
from contracts.api.accounts import Account
from contracts.api.common import Amount, Metadata, Reason, Reference, Reply, Request, Tags
from contracts.api.debits import Debit

HoldTtl = Annotated[int, msgspec.Meta(ge=1, le=limits.HOLD_TTL_MAX_SECONDS)]


class HoldStatus(enum.StrEnum):
    """Where a hold stands; all but the first are final."""

    OPEN = "open"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


class HoldRequest(Request, frozen=True, kw_only=True):
    """Set credits aside; without `ttl_seconds` for as long as the tenant's policy says."""

    amount: Amount
    ttl_seconds: HoldTtl | None = None
    reason: Reason
    tags: Tags = ()
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


class CaptureRequest(Request, frozen=True, kw_only=True):
    """Spend `amount` of a hold, by default all of it; the rest is released."""

    amount: Amount | None = None


class ReleaseRequest(Request, frozen=True, kw_only=True):
    """Free a hold; there is nothing more to say."""


class ExtendRequest(Request, frozen=True, kw_only=True):
    """Let a hold last until `ttl_seconds` from now, never shorter than it already does."""

    ttl_seconds: HoldTtl


class ReleaseHoldsRequest(Request, frozen=True, kw_only=True):
    """Release the open holds that bear a reference."""

    reference: Reference
    reason: Reason | None = None


class Hold(Reply, frozen=True, kw_only=True):
    """Credits set aside; once it has ended, `captured` and `released` add up to `amount`."""

    hold_id: str | None
    amount: int
    captured: int
    released: int
    status: HoldStatus
    expires_at: datetime
    reason: str
    reference: str | None
    metadata: dict[str, Any]
    created_at: datetime


class HoldReply(Reply, frozen=True, kw_only=True):
    """The outcome of a command on one hold."""

    position: int | None
    recorded_at: datetime
    account: Account
    hold: Hold


class CaptureReply(Reply, frozen=True, kw_only=True):
    """The outcome of a capture: the hold as it ended, and the debit that it became."""

    position: int | None
    recorded_at: datetime
    account: Account
    hold: Hold
    debit: Debit


class ReleasedHold(Reply, frozen=True, kw_only=True):
    """One of several holds that were released together."""

    hold_id: str
    amount: int


class ReleaseHoldsReply(Reply, frozen=True, kw_only=True):
    """The holds that were released, the oldest first. `has_more`: there are more of them than one
    command takes, so send another one."""

    position: int | None
    recorded_at: datetime
    account: Account
    holds: tuple[ReleasedHold, ...]
    has_more: bool
