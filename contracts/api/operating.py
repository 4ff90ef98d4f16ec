"""What an operator does to accounts: adjustments, write-offs, transfers, freezing and closing."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Literal

from contracts.api.accounts import Account
from contracts.api.common import AccountId, Amount, LotAmount, Reason, Reply, Request


class Adjusting(enum.StrEnum):
    """Which way an adjustment goes."""

    CREDIT = "credit"
    DEBIT = "debit"


class AdjustmentRequest(Request, frozen=True, kw_only=True):
    """Correct a balance by hand; a debit counts towards no spend limit."""

    amount: Amount
    direction: Adjusting
    reason: Reason


class Adjustment(Reply, frozen=True, kw_only=True):
    """A correction; its id is that of the grant or debit that it is."""

    adjustment_id: str | None
    amount: int
    direction: Adjusting
    reason: str
    lots: tuple[LotAmount, ...]
    created_at: datetime


class AdjustmentReply(Reply, frozen=True, kw_only=True):
    """The outcome of an adjustment."""

    position: int | None
    recorded_at: datetime
    account: Account
    adjustment: Adjustment


class WriteOffRequest(Request, frozen=True, kw_only=True):
    """Forgive at most `amount` of the debt, by default all of it."""

    amount: Amount | None = None
    reason: Reason


class WriteOff(Reply, frozen=True, kw_only=True):
    """Debt that was forgiven; `amount` is never more than was owed."""

    amount: int
    reason: str
    created_at: datetime


class WriteOffReply(Reply, frozen=True, kw_only=True):
    """The outcome of a write-off."""

    position: int | None
    recorded_at: datetime
    account: Account
    write_off: WriteOff


class TransferRequest(Request, frozen=True, kw_only=True):
    """Move credits, or all that can be moved. With `merge` (which needs `"all"`) debt moves too,
    and whatever comes to the first account from then on goes on to the second."""

    from_account_id: AccountId
    to_account_id: AccountId
    amount: Amount | Literal["all"]
    merge: bool = False
    reason: Reason


class Transfer(Reply, frozen=True, kw_only=True):
    """Credits that moved from one account to another."""

    transfer_id: str | None
    from_account_id: str
    to_account_id: str
    amount: int
    reason: str
    created_at: datetime


class TransferReply(Reply, frozen=True, kw_only=True):
    """The outcome of a transfer; `account` is the one that the credits came from."""

    position: int | None
    recorded_at: datetime
    account: Account
    transfer: Transfer


class StandingRequest(Request, frozen=True, kw_only=True):
    """Why an account is frozen, unfrozen or closed."""

    reason: Reason
