"""Alerts: the available balance against the levels that the account has asked to be told of."""

from __future__ import annotations

from ledger_service.domain.account.balance import available
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.standing import ThresholdCrossed


def watch_balances(draft: Draft) -> None:
    """Record each level that the command crossed, once."""
    for owner in draft.touched():
        state = draft.account(owner)
        if state is not None and state.terms.thresholds.low_balance:
            _watch(draft, owner, state)


def _watch(draft: Draft, owner: str, state: AccountState) -> None:
    now_available = available(state, draft.now)
    for level in sorted(state.terms.thresholds.low_balance, reverse=True):
        is_below = now_available < level
        if is_below != (level in state.terms.below):
            crossed = ThresholdCrossed(level=level, is_below=is_below, available=now_available)
            draft.record(owner, crossed)
