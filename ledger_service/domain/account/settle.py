"""Expiry: one pure function that commands, reads and the sweep share."""

from __future__ import annotations

from datetime import datetime

from ledger_service.domain.account.state import AccountState
from ledger_service.domain.events.account import CreditsExpired, Slice


def settle(state: AccountState, now: datetime) -> CreditsExpired | None:
    """The expiry that is due at `now`: the free part of every lot whose time has come."""
    slices = tuple(
        [Slice(lot.grant_id, lot.free) for lot in state.lots if lot.is_expired(now) and lot.free]
    )
    if not slices:
        return None
    return CreditsExpired(amount=sum([taken.amount for taken in slices]), slices=slices)
