"""Changes of lots that several events share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from ledger_service.domain.account.state import (
    NO_CLAWBACK,
    AccountState,
    Lot,
    burn_key,
)
from ledger_service.domain.events.account import Slice

Evolver = Callable[[AccountState, Any], dict[str, Any]]
Lots = tuple[Lot, ...]

GIVEN_BY: Final = ("slices", "freed", "owed", "repaid_owed")
"""Fields of events that name existing lots of their own account."""


def changed(lots: Lots, slices: Iterable[Slice], change: Callable[[Lot, int], Lot]) -> Lots:
    """The lots, each that stands in a slice changed by that amount."""
    amounts: dict[str, int] = {}
    for taken in slices:
        assert taken.grant_id not in amounts, "a lot stands in an event once"
        amounts[taken.grant_id] = taken.amount
    after = []
    for lot in lots:
        amount = amounts.pop(lot.grant_id, None)
        after.append(lot if amount is None else change(lot, amount))
    assert not amounts, "load the lots first"
    return tuple(after)


def inserted(lots: Lots, lot: Lot) -> Lots:
    """The lots with a new one at its place in burn order."""
    return tuple(sorted([*lots, lot], key=burn_key))


def repaid(lots: Lots, slices: tuple[Slice, ...]) -> Lots:
    """Open clawback debt of these lots was repaid (q→y)."""
    return changed(lots, slices, _repay) if slices else lots


def total(slices: Iterable[Slice]) -> int:
    """Credits in all of them."""
    return sum([part.amount for part in slices])


def _repay(lot: Lot, amount: int) -> Lot:
    clawback = lot.clawback or NO_CLAWBACK
    return replace(
        lot,
        clawback=replace(clawback, owed=clawback.owed - amount, repaid=clawback.repaid + amount),
    )
