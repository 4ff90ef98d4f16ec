"""Transfers and merges."""

from __future__ import annotations

from typing import Any, Literal

from tests.oracle.ground import Ground, burn_key
from tests.oracle.things import Account, Lot, Refused


def transfer(
    ground: Ground, source: str, target: str, amount: int | Literal["all"], merge: bool = False
) -> dict[str, Any]:
    """Free credits move, lot by lot; with `merge` all of them, then all debt, for ever."""
    if source == target:
        raise Refused("same_account")
    for name in (source, target):
        if name not in ground.accounts:
            raise Refused("account_not_found", account_id=name)
    giver = ground.spender(source)
    taker = ground.settled(target)
    if taker.status == "closed" or (merge and taker.status == "merged"):
        raise Refused(f"account_{taker.status}")
    return _merge(ground, giver, taker) if merge else _transfer(ground, giver, taker, amount)


def _merge(ground: Ground, giver: Account, taker: Account) -> dict[str, Any]:
    lots = [lot for lot in giver.lots if lot.free]
    moved = _move(ground, giver, taker, lots, sum(lot.free for lot in lots))
    debt = ground.assume(giver, taker)
    giver.status, giver.merged_into, giver.limit = "merged", taker.id, 0
    return {"amount": moved, "debt": debt}


def _transfer(
    ground: Ground, giver: Account, taker: Account, amount: int | Literal["all"]
) -> dict[str, Any]:
    usable = [lot for lot in giver.lots if lot.free and lot.is_usable(ground.now)]
    allowed = giver.available(ground.now) - giver.limit
    most = allowed
    free = sum(lot.free for lot in usable)
    wanted = most if amount == "all" else amount
    if amount == "all" and allowed == free > 0:  # then what is not effective yet moves as well
        usable = [lot for lot in giver.lots if lot.free]
        most = wanted = sum(lot.free for lot in usable)
    if wanted > most or wanted <= 0:
        short = max(wanted, 1)
        raise Refused(
            "insufficient_credits", available=most, required=short, shortfall=short - most
        )
    return {"amount": _move(ground, giver, taker, usable, wanted), "debt": 0}


def _move(ground: Ground, giver: Account, taker: Account, lots: list[Lot], amount: int) -> int:
    left = amount
    for lot in sorted(lots, key=burn_key):
        part = min(left, lot.free)
        left -= part
        if part:
            ground.move(lot, taker, part)
    assert left == 0, giver
    return amount
