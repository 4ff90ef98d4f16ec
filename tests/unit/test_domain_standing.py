"""What an account's status allows, and what is asked of accounts that do not exist."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.api.accounts import AccountStatus
from contracts.problems import ProblemCode
from ledger_service.domain.commands import (
    BookExpiry,
    ChangeCreditLimit,
    Command,
    DebitCredits,
    OpenAccount,
    RefundDebit,
    RequestGeneration,
)
from tests.fixtures.worlds import ALICE, NOON, Balances, MemoryLedger, granting

REQUEST = RequestGeneration(
    owner=ALICE,
    model="m",
    price=0,
    tags=(),
    deadline_after=timedelta(hours=1),
    private="00",
)
DEBIT = DebitCredits(owner=ALICE, amount=1)


def standing(status: AccountStatus) -> tuple[MemoryLedger, str]:
    """An account in `status` with 70 credits, of which half expire in an hour, and a debit."""
    ledger = MemoryLedger()
    ledger.grant(100, priority=1)
    debit = ledger.debit(65)
    ledger.grant(35, expires_at=NOON + timedelta(hours=1))
    ledger.stand(status)
    return ledger, debit


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (AccountStatus.FROZEN, ProblemCode.ACCOUNT_FROZEN),
        (AccountStatus.CLOSED, ProblemCode.ACCOUNT_CLOSED),
        (AccountStatus.MERGED, ProblemCode.ACCOUNT_MERGED),
    ],
)
@pytest.mark.parametrize("command", [DEBIT, REQUEST], ids=["debit", "generation"])
def test_only_an_active_account_spends(
    status: AccountStatus, code: ProblemCode, command: Command
) -> None:
    """Frozen, closed and merged accounts refuse debits and generations, free ones too."""
    ledger, _ = standing(status)
    assert ledger.refuse(command).code is code
    assert ledger.balances().posted == 70


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
def test_what_settles_earlier_business_always_goes(status: AccountStatus) -> None:
    """Refunds and expiry are booked whatever the status."""
    ledger, debit = standing(status)
    ledger.refund(debit, 5)
    ledger.wait(3600)
    ledger.sweep()
    assert ledger.balances() == Balances(posted=40, held=0, available=40, debt=0)


def test_a_frozen_account_takes_grants_and_a_closed_one_does_not() -> None:
    """Freezing stops spending alone; closing stops grants, even paid ones."""
    ledger, _ = standing(AccountStatus.FROZEN)
    ledger.grant(1)
    ledger, _ = standing(AccountStatus.CLOSED)
    refusal = ledger.refuse(granting(1, source="purchase"))
    assert refusal.code is ProblemCode.ACCOUNT_CLOSED


def test_an_account_opens_once() -> None:
    """A second opening is refused, whether a grant or a command opened it first."""
    again = OpenAccount(owner=ALICE, unit="credit", credit_limit=0)
    for first in (again, granting(1)):
        ledger = MemoryLedger()
        ledger.do(first)
        assert ledger.refuse(again).code is ProblemCode.ACCOUNT_EXISTS


@pytest.mark.parametrize(
    "command",
    [
        DEBIT,
        REQUEST,
        RefundDebit(owner=ALICE, debit_id="dbt_x", amount=1),
        ChangeCreditLimit(owner=ALICE, credit_limit=1),
        BookExpiry(owner=ALICE),
    ],
    ids=lambda command: type(command).__name__,
)
def test_only_grants_open_accounts_by_the_way(command: Command) -> None:
    """Everything else on an account that does not exist is not found."""
    assert MemoryLedger().refuse(command).code is ProblemCode.ACCOUNT_NOT_FOUND
