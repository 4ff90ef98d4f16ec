"""The worked examples of the law of credits, figure by figure."""

from __future__ import annotations

from datetime import timedelta

from ledger_service.domain.account.balance import unbooked
from ledger_service.domain.policy import Policy
from tests.fixtures.worlds import ALICE, BOB, MemoryLedger

NO_GRACE = Policy(grace=timedelta(0))


def test_held_credits_outlive_their_lot() -> None:
    """Example 1: a hold on a lot that expires can still be captured; the rest is gone."""
    ledger = MemoryLedger(NO_GRACE)
    noon = ledger.now + timedelta(hours=1)
    ledger.grant(100, expires_at=noon)
    ledger.grant(50)
    hold = ledger.hold(60, ttl=timedelta(hours=2))
    ledger.wait(3660)
    assert ledger.balances() == (150, 60, 50, 0)
    assert unbooked(ledger.account(), ledger.now) == 40
    ledger.capture(hold, 20)
    assert ledger.balances() == (50, 0, 50, 0)


def test_a_clawback_of_spent_credits_is_debt() -> None:
    """Examples 2 and 3: debt, its repayment by a grant, and a dispute that is won after all."""
    ledger = MemoryLedger()
    first = ledger.grant(100)
    debit = ledger.debit(30)
    hold = ledger.hold(20)
    ledger.claw_back(first, 100)
    assert ledger.balances() == (-30, 20, -50, 50)
    ledger.release(hold)
    assert ledger.balances() == (-30, 0, -30, 30)
    assert ledger.lot(first).clawed_back == 70
    ledger.grant(100)
    assert ledger.balances() == (70, 0, 70, 0)
    ledger.wait(1)
    ledger.claw_back(first, 0)
    assert ledger.balances() == (170, 0, 170, 0)
    ledger.refund(debit)
    assert ledger.balances() == (200, 0, 200, 0)


def test_holds_and_debits_share_the_credit_limit() -> None:
    """Example 4: what is spent and held on credit, repaid by a grant, and refunded."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.grant(10)
    debit = ledger.debit(40)
    assert ledger.balances() == (-30, 0, 20, 30)
    ledger.hold(20)
    assert ledger.balances()[2] == 0
    ledger.grant(25)
    state = ledger.balances()
    assert (state.posted, state.available) == (-5, 25)
    ledger.refund(debit)
    state = ledger.balances()
    assert (state.posted, state.available) == (35, 65)


def test_what_has_expired_is_lost_only_once() -> None:
    """Example 5: a clawback absorbs what had expired, and freed credits pay its debt first."""
    ledger = MemoryLedger(NO_GRACE)
    lot = ledger.grant(100, expires_at=ledger.now + timedelta(hours=1))
    debit = ledger.debit(80)
    ledger.wait(3600)
    ledger.claw_back(lot, 50)
    assert ledger.balances().debt == 30
    back = ledger.lot(lot).clawback
    assert back is not None
    assert back.absorbed == 20
    ledger.refund(debit)
    assert ledger.balances() == (0, 0, 0, 0)
    assert (ledger.lot(lot).expired, ledger.lot(lot).clawed_back) == (70, 30)


def test_a_clawback_follows_credits_and_debt_to_another_account() -> None:
    """Example 6: credits and debt of a merged account are its successor's."""
    ledger = MemoryLedger()
    lot = ledger.grant(100, source="purchase")
    ledger.debit(30)
    ledger.open(owner=BOB)
    ledger.transfer(None, is_merge=True)
    assert ledger.balances(ALICE) == (0, 0, 0, 0)
    ledger.debit(50, owner=BOB)
    ledger.claw_back(lot, 100)
    assert ledger.balances(ALICE).posted == 0
    assert ledger.balances(BOB) == (-80, 0, -80, 80)
    derived = next(lot for lot in ledger.account(BOB).lots if lot.kind == "transfer")
    assert (derived.clawed_back, derived.owed) == (20, 50)
