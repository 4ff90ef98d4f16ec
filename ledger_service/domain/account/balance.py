"""What an account has, and what a spend may take, at an instant (equation A2)."""

from __future__ import annotations

from datetime import datetime

from ledger_service.domain.account.state import AccountState


def unbooked(state: AccountState, now: datetime) -> int:
    """Free credits whose expiry has come but is not recorded yet."""
    return sum([lot.free for lot in state.lots if lot.is_expired(now)])


def blocked(state: AccountState, now: datetime) -> int:
    """Free credits that no spend may take: already expired, or not effective yet."""
    assert not is_partial(state, now), "lots beyond the head changed: load them first"
    in_lots = sum([lot.free for lot in state.lots if not lot.is_spendable(now)])
    return in_lots + state.overflow.waiting


def available(state: AccountState, now: datetime) -> int:
    """What a spend may take now, the credit limit included; negative when in debt beyond it."""
    return state.posted - state.held - blocked(state, now) + state.credit_limit


def is_partial(state: AccountState, now: datetime) -> bool:
    """Lots beyond the head have started or expired, so the head alone cannot tell the balance."""
    return min(state.overflow.next_start_at, state.overflow.next_expiry_at) <= now
