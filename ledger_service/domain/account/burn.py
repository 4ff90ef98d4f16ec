"""Which credits a spend takes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ledger_service.domain.account.state import AccountState
from ledger_service.domain.events.account import Slice


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """A spend that can be met: slices in burn order, the rest on the credit limit."""

    slices: tuple[Slice, ...]
    on_credit: int


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """A spend that the loaded lots cannot meet, with what they could."""

    available: int


def plan_spend(
    state: AccountState, amount: int, tags: frozenset[str], now: datetime
) -> Spend | Shortage:
    """Take `amount` from free, effective, fitting lots in burn order, the rest on credit."""
    wanted = amount
    slices = []
    for lot in state.lots:
        if wanted == 0:
            break
        if lot.free > 0 and lot.is_spendable(now) and lot.fits(tags):
            taken = min(lot.free, wanted)
            slices.append(Slice(lot.grant_id, taken))
            wanted -= taken
    headroom = state.credit_limit - state.debt - state.held_on_credit
    if wanted > 0 or headroom < 0:
        spendable = _spendable(state, tags, now) + headroom
        if spendable < amount:
            return Shortage(available=spendable)
    return Spend(slices=tuple(slices), on_credit=wanted)


def _spendable(state: AccountState, tags: frozenset[str], now: datetime) -> int:
    return sum([lot.free for lot in state.lots if lot.is_spendable(now) and lot.fits(tags)])
