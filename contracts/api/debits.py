"""Debits: credits spent; refunds: credits of a debit given back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from contracts.api.accounts import Account
from contracts.api.common import (
    Amount,
    LotAmount,
    Metadata,
    Reason,
    Reference,
    Reply,
    Request,
    Tags,
)


class DebitRequest(Request, frozen=True, kw_only=True):
    """Spend credits. `tags` say what they buy, for grants that are restricted."""

    amount: Amount
    reason: Reason
    tags: Tags = ()
    reference: Reference | None = None
    metadata: Metadata = msgspec.field(default_factory=dict)


class Debit(Reply, frozen=True, kw_only=True):
    """Credits spent; `lots` says from which grants, the rest came from the credit limit."""

    debit_id: str | None
    amount: int
    refunded: int
    reason: str
    reference: str | None
    lots: tuple[LotAmount, ...]
    metadata: dict[str, Any]
    created_at: datetime


class DebitReply(Reply, frozen=True, kw_only=True):
    """The outcome of a debit."""

    position: int | None
    recorded_at: datetime
    account: Account
    debit: Debit


class RefundRequest(Request, frozen=True, kw_only=True):
    """Give back `amount` credits of a debit, by default all that is left of it."""

    amount: Amount | None = None
    reason: Reason


class Refund(Reply, frozen=True, kw_only=True):
    """Credits given back; `lots` says to which grants, the rest cancelled debt."""

    refund_id: str | None
    debit_id: str
    amount: int
    reason: str
    lots: tuple[LotAmount, ...]
    created_at: datetime


class RefundReply(Reply, frozen=True, kw_only=True):
    """The outcome of a refund."""

    position: int | None
    recorded_at: datetime
    account: Account
    refund: Refund
