"""Clawbacks: a target per lot, raised and lowered; and what ends or forgives: void, write-off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.oracle.ground import Ground
from tests.oracle.things import OUTSIDE, Account, Lot, Refused


def clawback(
    ground: Ground,
    account: str,
    lot: str,
    reference: str,
    as_of: int,
    amount: int | None = None,
    fraction_millis: int | None = None,
) -> dict[str, Any]:
    """A store took money back, or gave it back again: the claims on a lot change."""
    there = ground.settled(account)
    found = _own_lot(there, lot)
    if found.kind not in OUTSIDE:
        raise Refused("grant_derived", origin=found.origin)
    if amount is None:
        amount = found.g * (fraction_millis or 0) // 1000
    if amount > found.g:
        raise Refused("validation_failed")
    known = found.claims.get(reference)
    if known is None or (as_of, amount) > known:
        found.claims[reference] = (as_of, amount)
    target = min(found.g, sum(claimed for _, claimed in found.claims.values()))
    change = target - found.target
    if change > 0:
        raise_target(ground, found, change)
    elif change < 0:
        lower_target(ground, found, -change)
    return {"lot": found.id, "change": change, "target": target}


def raise_target(ground: Ground, lot: Lot, amount: int) -> None:
    """Take what is free, then what moved on, then what was lost anyway; the rest is owed."""
    ground.settled(lot.account)
    assert lot.target + amount <= lot.g
    lot.target += amount
    part = min(amount, lot.free)
    lot.r -= part
    lot.c += part
    amount -= part
    for child in children(ground, lot):
        part = min(amount, child.g - child.target)
        if part:
            lot.f += part
            amount -= part
            raise_target(ground, child, part)
    part = min(amount, lot.x + lot.v - lot.a)
    lot.a += part
    lot.q += amount - part


def lower_target(ground: Ground, lot: Lot, amount: int) -> None:
    """The mirror image: what is owed, what was repaid, what was lost, moved on, taken."""
    there = ground.settled(lot.account)
    assert amount <= lot.target
    lot.target -= amount
    part = min(amount, lot.q)
    lot.q -= part
    amount -= part
    reinstated = min(amount, lot.y)
    lot.y -= reinstated
    amount -= reinstated
    part = min(amount, lot.a)
    lot.a -= part
    amount -= part
    back: list[tuple[Lot, int]] = []
    for child in reversed(children(ground, lot)):
        part = min(amount, child.target)
        lot.f -= part
        amount -= part
        back += [(child, part)] if part else []
    assert amount <= lot.c
    lot.c -= amount
    lot.r += amount
    ground.free_up(there, lot, amount)
    if reinstated:
        _reinstate(ground, there, lot, reinstated)
    for child, part in back:
        lower_target(ground, child, part)


def children(ground: Ground, lot: Lot) -> list[Lot]:
    """The lots that its credits moved into, in the order of their ids."""
    return sorted((ground.find(child) for child in lot.children), key=lambda child: child.order)


def void(ground: Ground, account: str, lot: str) -> dict[str, Any]:
    """The free part of a lot ends early, and the lot with it."""
    there = ground.settled(account)
    found = _own_lot(there, lot)
    amount = found.free
    found.r -= amount
    found.v += amount
    found.is_voided = True
    return {"lot": found.id, "voided": amount}


def write_off(ground: Ground, account: str, amount: int | None = None) -> dict[str, Any]:
    """Debt is forgiven: overdraft first, then claims on old lots."""
    there = ground.settled(account)
    debt = there.debt
    if debt == 0:
        raise Refused("no_debt")
    amount = debt if amount is None else min(amount, debt)
    part = min(amount, there.o)
    there.o -= part
    left = amount - part
    for lot in there.lots:
        part = min(left, lot.q)
        lot.q -= part
        lot.y += part
        left -= part
    there.written_off += amount
    return {"amount": amount}


def _own_lot(there: Account, lot: str) -> Lot:
    found = there.lot(lot)
    if found is None:
        raise Refused("grant_not_found")
    return found


def _reinstate(ground: Ground, there: Account, lot: Lot, amount: int) -> None:
    ends = None if lot.is_over(ground.now) else lot.terms.expires_at
    terms = replace(lot.terms, expires_at=ends)
    ground.repay(there, ground.add_lot(there, "reinstated", amount, terms))
