"""Which credits a spend takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events.account import Slice


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """A spend that can be met: slices in burn order, the rest on the credit limit."""

    slices: tuple[Slice, ...]
    on_credit: int


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """A spend that the loaded lots cannot meet, with what they could."""

    available: int


def plan_spend(
    state: AccountState,
    amount: int,
    tags: frozenset[str],
    now: datetime,
    *,
    promotional_first: bool = False,
) -> Spend | Shortage:
    """Take `amount` from free, effective, fitting lots in burn order, the rest on credit."""
    wanted = amount
    slices = []
    for lot in in_burn_order(state, promotional_first=promotional_first):
        free = lot.remaining - lot.held
        if free > 0 and lot.is_spendable(now) and lot.fits(tags):
            taken = free if free < wanted else wanted
            slices.append(Slice(lot.grant_id, taken))
            wanted -= taken
            if wanted == 0:
                break
    headroom = credit_left(state)
    if wanted > 0 or headroom < 0:
        spendable = _spendable(state, tags, now) + headroom
        if spendable < amount:
            return Shortage(available=spendable)
    return Spend(slices=tuple(slices), on_credit=wanted)


def in_burn_order(state: AccountState, *, promotional_first: bool) -> Sequence[Lot]:
    """The lots as spends take them: by policy the purchased ones after all others."""
    if not promotional_first:
        return state.lots
    return sorted(state.lots, key=lambda lot: lot.source == "purchase")


def credit_left(state: AccountState) -> int:
    """What may still be spent on the credit limit; negative when debt has passed it."""
    return state.credit_limit - state.debt - state.held_on_credit


def _spendable(state: AccountState, tags: frozenset[str], now: datetime) -> int:
    return sum([lot.free for lot in state.lots if lot.is_spendable(now) and lot.fits(tags)])
