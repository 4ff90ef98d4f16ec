"""The law's equations, checked after every command on every account that it may have touched."""

from __future__ import annotations

from collections.abc import Iterable

from tests.oracle.things import OUTSIDE, Account, Lot

PARTS = ("g", "r", "h", "s", "p", "x", "v", "c", "t", "target", "a", "q", "y", "f")


def check_lot(lot: Lot) -> None:
    """L1 and L2."""
    assert all(getattr(lot, part) >= 0 for part in PARTS), lot
    assert lot.g == lot.r + lot.s + lot.p + lot.x + lot.v + lot.c + lot.t, f"L1 {lot}"
    assert lot.h <= lot.r, f"L1 {lot}"
    assert lot.target == lot.c + lot.a + lot.q + lot.y + lot.f, f"L2 {lot}"
    assert lot.target <= lot.g, f"L2 {lot}"
    assert lot.a <= lot.x + lot.v, f"L2 {lot}"
    assert lot.f <= lot.t, f"L2 {lot}"


def check_account(account: Account, now: int) -> None:
    """A1, A2 and A3, after those of its lots."""
    for lot in account.lots:
        check_lot(lot)
    assert account.o >= 0, account
    assert account.k >= 0, account
    assert account.status != "merged" or account.debt == 0, f"debt stays behind: {account}"
    _check_holds(account)
    lots = account.lots
    clawed = sum(lot.target - lot.a - lot.f for lot in lots)
    spent = account.debited - account.refunded
    assert account.posted == (
        sum(lot.g for lot in lots if lot.kind in OUTSIDE)
        + account.moved_in
        - account.moved_out
        + account.written_off
        - spent
        - sum(lot.x for lot in lots)
        - sum(lot.v for lot in lots)
        - clawed
    ), f"A3 {account}"
    spendable = sum(lot.free for lot in lots if lot.is_usable(now))
    room = account.limit - account.debt - account.k
    assert account.available(now) == spendable + room, f"A2 {account}"


def _check_holds(account: Account) -> None:
    open_holds = [hold for hold in account.holds if hold.status == "open"]
    assert account.held == sum(hold.amount for hold in open_holds), f"A1 {account}"
    for hold in account.holds:
        assert hold.amount == sum(part.amount for part in hold.slices) + hold.credit, hold
    for debit in account.debits:
        assert debit.refunded == sum(part.back for part in debit.slices) + debit.credit_back
        assert 0 <= debit.refunded <= debit.amount, debit
    refundable = sum(debit.amount - debit.refunded for debit in account.debits)
    assert account.debited - account.refunded == refundable


def check_transfers(accounts: Iterable[Account]) -> None:
    """What left one account has come to another."""
    every = list(accounts)
    moved_in = sum(account.moved_in for account in every)
    assert moved_in == sum(account.moved_out for account in every)
