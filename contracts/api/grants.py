"""Grants: credits given or sold to an account, each a lot with its own terms."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any

import msgspec

from contracts import limits
from contracts.api.accounts import Account
from contracts.api.common import (
    Amount,
    Currency,
    Instant,
    Metadata,
    Reason,
    Reference,
    Reply,
    Request,
    Source,
    Tags,
)


class GrantRequest(Request, frozen=True, kw_only=True):
    """Give credits. Lower `priority` burns first; `restrict_to` tags limit what they buy.

    Without `expires_at` the tenant's policy says when they expire; null: never.
    """

    amount: Amount
    source: Source
    effective_at: Instant | None = None
    expires_at: Instant | msgspec.UnsetType | None = msgspec.UNSET
    priority: Annotated[int, msgspec.Meta(ge=0, le=limits.PRIORITY_MAX)] = limits.PRIORITY_DEFAULT
    unit_cost_micros: Annotated[int, msgspec.Meta(ge=0, le=limits.UNIT_COST_MAX_MICROS)] | None = (
        None
    )
    currency: Currency | None = None
    restrict_to: Tags = ()
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


class ClawbackRequest(Request, frozen=True, kw_only=True):
    """How much is to be taken back in all under `reference`: either `amount` credits or
    `fraction_millis` thousandths of the grant, rounded down. Less than before gives back the
    difference; 0 is a full reversal. `as_of` orders what is told under one reference."""

    reference: Reference
    as_of: Instant
    amount: Annotated[int, msgspec.Meta(ge=0, le=limits.AMOUNT_MAX_CREDITS)] | None = None
    fraction_millis: Annotated[int, msgspec.Meta(ge=0, le=1000)] | None = None
    reason: Reason


class VoidRequest(Request, frozen=True, kw_only=True):
    """Why a grant ends early."""

    reason: Reason


class GrantExpiryRequest(Request, frozen=True, kw_only=True):
    """When a grant is to end instead; null: never."""

    expires_at: Instant | None
    reason: Reason


class GrantKind(enum.StrEnum):
    """How a lot of credits came about: `grant` from outside, all others from another lot."""

    GRANT = "grant"
    GRACE = "grace"
    ROLLOVER = "rollover"
    TRANSFER = "transfer"
    RESTORED = "restored"
    REINSTATED = "reinstated"


class Origin(Reply, frozen=True, kw_only=True):
    """The grant that a lot was derived from."""

    account_id: str
    grant_id: str


class Clawback(Reply, frozen=True, kw_only=True):
    """Credits of a grant that were to be taken back in all (`target`): `taken` while unspent,
    `absorbed` by what had expired or was voided, `owed` as debt, `repaid` since, and `forwarded`
    to where the credits had been transferred."""

    target: int
    taken: int
    absorbed: int
    owed: int
    repaid: int
    forwarded: int


class Grant(Reply, frozen=True, kw_only=True):
    """A lot of credits; `remaining` includes what is `held`."""

    grant_id: str | None
    amount: int
    remaining: int
    held: int
    spent: int
    source: Source
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    unit_cost_micros: int | None
    currency: str | None
    restrict_to: tuple[str, ...]
    reference: str | None
    metadata: dict[str, Any]
    created_at: datetime
    kind: GrantKind
    origin: Origin | None
    voided: bool
    clawback: Clawback | None


class GrantReply(Reply, frozen=True, kw_only=True):
    """The outcome of a command on one grant."""

    position: int | None
    recorded_at: datetime
    account: Account
    grant: Grant
