"""A clawback follows credits that went far, or to many, without asking lot by lot."""

from __future__ import annotations

from tests.fixtures.worlds import ALICE, BOB, MemoryLedger


def test_a_clawback_follows_credits_that_left_in_many_parts() -> None:
    """More lots than a command may ask for one by one, all of them spent: their debt is one sum."""
    ledger = MemoryLedger(is_witnessed=False)
    ledger.open(owner=BOB)
    lot = ledger.grant(1_010, source="purchase")
    for _ in range(1_010):
        ledger.transfer(1)
        ledger.debit(1, owner=BOB)
    ledger.claw_back(lot, 1_010)
    assert ledger.balances(BOB).debt == 1_010
    ledger.wait(1)
    ledger.claw_back(lot, 0)
    assert ledger.balances(BOB).debt == 0


def test_a_clawback_follows_credits_that_went_to_and_fro() -> None:
    """However often they changed hands, they are taken where they are now."""
    ledger = MemoryLedger(is_witnessed=False)
    ledger.open(owner=BOB)
    lot = ledger.grant(100, source="purchase")
    here, there = ALICE, BOB
    for _ in range(501):
        ledger.transfer(100, owner=here, to=there)
        here, there = there, here
    assert ledger.balances(here).posted == 100
    ledger.claw_back(lot, 60)
    assert ledger.balances(here).posted == 40
    assert ledger.balances(there).posted == 0
