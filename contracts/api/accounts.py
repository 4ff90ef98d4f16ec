"""Accounts: their balance and standing."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from contracts.api.common import AccountId, CreditLimit, Metadata, Reply, Request, Unit


class AccountStatus(enum.StrEnum):
    """What may still happen on an account."""

    ACTIVE = "active"
    FROZEN = "frozen"
    CLOSED = "closed"
    MERGED = "merged"


class OpenAccountRequest(Request, frozen=True, kw_only=True):
    """Open an account before its first grant would."""

    account_id: AccountId
    unit: Unit = "credit"
    credit_limit: CreditLimit = 0
    metadata: Metadata = msgspec.field(default_factory=dict)


class ChangeAccountRequest(Request, frozen=True, kw_only=True):
    """Change how far an account may go below zero by spending."""

    credit_limit: CreditLimit


class Balance(Reply, frozen=True, kw_only=True):
    """Credits. `posted`: unspent, held ones included, less debt. `available`: what a spend may
    take now. `pending_expiry`: expired but not yet booked as such."""

    posted: int
    held: int
    available: int
    debt: int
    credit_limit: int
    pending_expiry: int


class Account(Reply, frozen=True, kw_only=True):
    """One account. `version` counts its events, `position` is its newest one in the log."""

    account_id: str
    unit: str
    status: AccountStatus
    version: int | None
    position: int | None
    balance: Balance
    merged_into: str | None
    opened_at: datetime


class AccountReply(Reply, frozen=True, kw_only=True):
    """The outcome of a command on the account itself."""

    position: int | None
    recorded_at: datetime
    account: Account
