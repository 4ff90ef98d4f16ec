"""Grants: credits given or sold to an account, each a lot with its own terms."""

from __future__ import annotations

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
    Reference,
    Reply,
    Request,
    Source,
    Tags,
)


class GrantRequest(Request, frozen=True, kw_only=True):
    """Give credits. Lower `priority` burns first; `restrict_to` tags limit what they buy."""

    amount: Amount
    source: Source
    effective_at: Instant | None = None
    expires_at: Instant | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=limits.PRIORITY_MAX)] = limits.PRIORITY_DEFAULT
    unit_cost_micros: Annotated[int, msgspec.Meta(ge=0, le=limits.UNIT_COST_MAX_MICROS)] | None = (
        None
    )
    currency: Currency | None = None
    restrict_to: Tags = ()
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


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


class GrantReply(Reply, frozen=True, kw_only=True):
    """The outcome of a grant."""

    position: int | None
    recorded_at: datetime
    account: Account
    grant: Grant
