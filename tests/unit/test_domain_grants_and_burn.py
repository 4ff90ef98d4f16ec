"""Grants make lots, and a debit takes them in one fixed order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.limits import AMOUNT_MAX_CREDITS, BALANCE_MAX_CREDITS
from contracts.problems import ProblemCode
from ledger_service.domain.account.state import Totals
from ledger_service.domain.commands import ChangeCreditLimit, DebitCredits
from ledger_service.domain.events.account import (
    AccountOpened,
    CreditsDebited,
    CreditsExpired,
    CreditsGranted,
    Slice,
)
from ledger_service.domain.policy import Policy
from tests.fixtures.worlds import (
    ALICE,
    NOON,
    Balances,
    MemoryLedger,
    assert_insufficient,
    granting,
)

HOUR = timedelta(hours=1)


def full_ledger() -> MemoryLedger:
    """An account with room for one more of the largest grants."""
    ledger = MemoryLedger()
    ledger.grant(1)
    amount = BALANCE_MAX_CREDITS - AMOUNT_MAX_CREDITS
    (lot,) = ledger.account().lots
    lots = (replace(lot, amount=amount, remaining=amount),)
    ledger.put(replace(ledger.account(), lots=lots, totals=Totals(granted=amount)))
    return ledger


def taken(ledger: MemoryLedger, amount: int, tags: tuple[str, ...] = ()) -> tuple[Slice, ...]:
    """The slices of a debit."""
    ledger.debit(amount, tags=tags)
    event = ledger.log[-1].event
    assert isinstance(event, CreditsDebited)
    return event.slices


def test_the_first_grant_opens_the_account() -> None:
    """The first grant also opens an account, in the same command."""
    ledger = MemoryLedger()
    ledger.grant(100)
    assert [type(new.event) for new in ledger.log] == [AccountOpened, CreditsGranted]
    assert ledger.balances() == Balances(posted=100, held=0, available=100, debt=0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"priority": 10}, {"expires_at": NOON + HOUR}, id="priority before expiry"),
        pytest.param(
            {"expires_at": NOON + HOUR},
            {"expires_at": NOON + 2 * HOUR},
            id="the soonest expiry first",
        ),
        pytest.param(
            {"expires_at": NOON + HOUR, "source": "purchase"},
            {"source": "promo"},
            id="what never expires comes last, even if given away",
        ),
        pytest.param(
            {"source": "signup", "unit_cost_micros": 9},
            {"source": "purchase", "unit_cost_micros": 1},
            id="given away before purchased, whatever it cost",
        ),
        pytest.param(
            {"source": "purchase"},
            {"source": "purchase", "unit_cost_micros": 1},
            id="no unit cost counts as 0",
        ),
        pytest.param({"unit_cost_micros": 1}, {"unit_cost_micros": 2}, id="the cheapest first"),
        pytest.param({}, {}, id="the oldest first"),
    ],
)
@pytest.mark.parametrize("granted_in_order", [True, False])
def test_burn_order(first: dict[str, Any], second: dict[str, Any], granted_in_order: bool) -> None:
    """Priority, then expiry, then not purchased, then unit cost, then age decide who burns."""
    ledger = MemoryLedger()
    if first == second or granted_in_order:
        lots = [ledger.grant(10, **first), ledger.grant(10, **second)]
    else:
        lots = [ledger.grant(10, **second), ledger.grant(10, **first)][::-1]
    assert taken(ledger, 15) == (Slice(lots[0], 10), Slice(lots[1], 5))


def test_credits_are_not_spendable_before_they_are_effective() -> None:
    """A lot counts as posted at once, and as available from `effective_at` on."""
    ledger = MemoryLedger()
    now_lot = ledger.grant(10)
    later_lot = ledger.grant(20, effective_at=NOON + HOUR, priority=1)
    assert ledger.balances() == Balances(posted=30, held=0, available=10, debt=0)
    assert taken(ledger, 4) == (Slice(now_lot, 4),)
    refusal = ledger.refuse(DebitCredits(owner=ALICE, amount=7))
    assert_insufficient(refusal, available=6, required=7)
    ledger.wait(3600)
    assert ledger.balances().available == 26
    assert taken(ledger, 21) == (Slice(later_lot, 20), Slice(now_lot, 1))


def test_restricted_credits_buy_only_what_fits() -> None:
    """A restricted lot is taken only when a tag of the spend is among its own."""
    ledger = MemoryLedger()
    video = ledger.grant(10, restrict_to=("video", "image"), priority=1)
    free = ledger.grant(5)
    assert taken(ledger, 3) == (Slice(free, 3),)
    assert_insufficient(
        ledger.refuse(DebitCredits(owner=ALICE, amount=3, tags=("audio",))),
        available=2,
        required=3,
    )
    assert taken(ledger, 11, ("image", "fast")) == (Slice(video, 10), Slice(free, 1))


def test_a_grant_repays_overdraft_debt_first() -> None:
    """A new lot first repays what was spent on the credit limit; the rest stays in it."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.debit(30)
    small, large = ledger.grant(10), ledger.grant(50)
    assert (ledger.lot(small).repaid, ledger.lot(small).remaining) == (10, 0)
    assert (ledger.lot(large).repaid, ledger.lot(large).remaining) == (20, 30)
    assert ledger.balances() == Balances(posted=30, held=0, available=80, debt=0)


def test_a_tenant_may_leave_debt_standing() -> None:
    """With `repay_debt` off, debt and the new lot stand side by side."""
    ledger = MemoryLedger(Policy(repay_debt=False))
    ledger.open(credit_limit=50)
    ledger.debit(30)
    ledger.grant(10)
    assert ledger.balances() == Balances(posted=-20, held=0, available=30, debt=30)


def test_amounts_up_to_the_bounds_are_exact() -> None:
    """Integers up to 10^12 per movement and 9·10^15 per balance, to the last credit."""
    ledger = full_ledger()
    ledger.do(granting(AMOUNT_MAX_CREDITS))
    assert ledger.balances().posted == BALANCE_MAX_CREDITS
    refusal = ledger.refuse(granting(1))
    assert refusal.code is ProblemCode.LIMIT_REACHED
    assert refusal.fields == {"limit": BALANCE_MAX_CREDITS}
    ledger.debit(1)
    assert ledger.balances().available == BALANCE_MAX_CREDITS - 1
    ledger.do(granting(1))


def test_a_paid_grant_is_never_refused_for_a_bound() -> None:
    """Money was taken for a purchase, so its credits come, past every bound."""
    ledger = full_ledger()
    for _ in range(2):
        ledger.do(granting(AMOUNT_MAX_CREDITS, source="purchase"))
    assert ledger.balances().posted == BALANCE_MAX_CREDITS + AMOUNT_MAX_CREDITS


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_at": NOON},
        {"expires_at": NOON - HOUR},
        {"effective_at": NOON + HOUR, "expires_at": NOON + HOUR},
    ],
)
def test_a_grant_must_live_for_a_while(terms: dict[str, Any]) -> None:
    """A lot that could never be spent is a mistake of the caller."""
    refusal = MemoryLedger().refuse(granting(1, **terms))
    assert refusal.code is ProblemCode.VALIDATION_FAILED
    assert [fault["pointer"] for fault in refusal.fields["errors"]] == ["/expires_at"]


def test_a_spend_is_refused_with_the_true_numbers() -> None:
    """A spend beyond what is available changes nothing and says what is missing."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=5)
    ledger.grant(10)
    assert_insufficient(
        ledger.refuse(DebitCredits(owner=ALICE, amount=16)), available=15, required=16
    )
    ledger.debit(15)
    assert ledger.balances() == Balances(posted=-5, held=0, available=0, debt=5)


def test_a_limit_lowered_below_its_use_stops_spending() -> None:
    """Available may be negative then; lots help a spend only beyond what is owed."""
    ledger = MemoryLedger(Policy(repay_debt=False))
    ledger.open(credit_limit=50)
    ledger.debit(40)
    ledger.do(ChangeCreditLimit(owner=ALICE, credit_limit=10))
    assert ledger.balances() == Balances(posted=-40, held=0, available=-30, debt=40)
    assert_insufficient(
        ledger.refuse(DebitCredits(owner=ALICE, amount=1)), available=-30, required=1
    )
    ledger.grant(35)
    assert_insufficient(ledger.refuse(DebitCredits(owner=ALICE, amount=6)), available=5, required=6)
    ledger.debit(5)
    assert ledger.balances().available == 0


def test_due_expiry_is_booked_before_the_spend() -> None:
    """A command first books the expiry that is due, then does its own work."""
    ledger = MemoryLedger()
    old = ledger.grant(10, expires_at=NOON + HOUR)
    new = ledger.grant(10)
    ledger.wait(3600)
    assert taken(ledger, 10) == (Slice(new, 10),)
    before = ledger.log[-2].event
    assert isinstance(before, CreditsExpired)
    assert before.slices == (Slice(old, 10),)


def test_a_spend_leaves_held_credits_alone() -> None:
    """Only the free part of a lot can be taken."""
    ledger = MemoryLedger()
    ledger.grant(100)
    (lot,) = ledger.account().lots
    ledger.put(replace(ledger.account(), lots=(replace(lot, held=60),)))
    refusal = ledger.refuse(DebitCredits(owner=ALICE, amount=41))
    assert_insufficient(refusal, available=40, required=41)
    ledger.debit(40)
    assert ledger.balances() == Balances(posted=60, held=60, available=0, debt=0)


def test_due_expiry_is_booked_before_the_grant() -> None:
    """A grant, a new limit and a refund find the account as it is at their instant."""
    ledger = MemoryLedger()
    ledger.grant(10, expires_at=NOON + HOUR)
    ledger.wait(3600)
    ledger.grant(1)
    assert [type(new.event) for new in ledger.log[-2:]] == [CreditsExpired, CreditsGranted]
    assert ledger.balances().posted == 1


def test_credit_is_taken_only_when_no_lot_is_left() -> None:
    """Lots beyond the head are spent before the credit limit is."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=100)
    for _ in range(40):
        ledger.grant(1)
    assert ledger.head().overflow.count == 8
    ledger.debit(45)
    assert ledger.balances() == Balances(posted=-5, held=0, available=95, debt=5)
