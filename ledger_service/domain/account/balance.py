"""What an account has, and what a spend may take, at an instant (equation A2)."""

from __future__ import annotations

from datetime import datetime

from ledger_service.domain.account.state import AccountState


def idle(state: AccountState, now: datetime) -> tuple[int, int]:
    """Free credits that no spend may take: those not effective yet, and those whose expiry has
    come but is not recorded yet."""
    assert not is_partial(state, now), "lots beyond the head changed: load them first"
    waiting, ended = state.overflow.waiting, 0
    for lot in state.lots:
        if lot.expires_at is not None and lot.expires_at <= now:
            ended += lot.free
        elif lot.effective_at > now:
            waiting += lot.free
    return waiting, ended


def unbooked(state: AccountState, now: datetime) -> int:
    """Free credits whose expiry has come but is not recorded yet."""
    return sum([lot.free for lot in state.lots if lot.is_expired(now)])


def available(state: AccountState, now: datetime) -> int:
    """What a spend may take now, the credit limit included; negative when in debt beyond it."""
    waiting, ended = idle(state, now)
    return state.posted - state.held - waiting - ended + state.credit_limit


def is_partial(state: AccountState, now: datetime) -> bool:
    """Lots beyond the head have started or expired, so the head alone cannot tell the balance."""
    overflow = state.overflow
    return overflow.next_start_at <= now or overflow.next_expiry_at <= now
