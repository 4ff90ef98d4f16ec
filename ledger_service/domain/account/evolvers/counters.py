"""Counters of spend limits."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from ledger_service.domain.account.terms import Counter, Terms
from ledger_service.domain.events.account import LimitUse


def counted(terms: Terms, uses: Iterable[LimitUse], amount: int) -> Terms:
    """`amount` more was spent; a counter begins anew with each window.

    Those of windows that are over go, so that an account has as many as keys spent lately.
    """
    counters = {counter.counter: counter for counter in terms.counters}
    for use in uses:
        known = counters.get(use.counter)
        before = known.used if known is not None and known.window == use.window else 0
        counters = {name: c for name, c in counters.items() if not _is_over(c, use)}
        counters[use.counter] = Counter(use.counter, use.window, before + amount)
    return replace(terms, counters=tuple(counters.values()))


def _is_over(counter: Counter, use: LimitUse) -> bool:
    """Windows of one kind are names of one length, in the order of time."""
    return len(counter.window) == len(use.window) and counter.window < use.window


def given_back(terms: Terms, uses: Iterable[LimitUse], amount: int) -> Terms:
    """`amount` came back; a window that is over is not touched any more."""
    spent = set(uses)
    counters = [
        replace(counter, used=max(0, counter.used - amount))
        if LimitUse(counter.counter, counter.window) in spent
        else counter
        for counter in terms.counters
    ]
    return replace(terms, counters=tuple(counters))
