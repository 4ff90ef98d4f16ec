"""What may go wrong, how often, and how often it did."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Final

KINDS: Final = {
    # The database and the processes that write to it.
    "commit_lost": 0.02,
    "answer_lost": 0.03,
    "connection_lost": 0.02,
    "contention": 0.03,
    "database_unfit": 0.01,
    "other_writer_first": 0.3,
    "slow_commit": 0.02,
    "clock_set_back": 0.01,
    "killed_before_commit": 0.01,
    "killed_after_commit": 0.015,
    # Between callers and the ledger.
    "request_lost": 0.03,
    "reply_lost": 0.04,
    "request_twice": 0.04,
    "request_late": 0.02,
    # Between the ledger and its workers.
    "ring_lost": 0.2,
    "ring_twice": 0.1,
    "worker_killed": 0.04,
    "worker_killed_submitting": 0.06,
    "claim_lost": 0.04,
    "report_lost": 0.04,
    "report_reply_lost": 0.06,
    "report_late": 0.03,
    # At the provider.
    "submit_refused": 0.04,
    "submit_unreachable": 0.04,
    "submit_busy": 0.08,
    "submit_locked": 0.03,
    "submit_lost": 0.04,
    "submit_answer_lost": 0.08,
    "submit_slow": 0.1,
    "listing_incomplete": 0.3,
    "provider_silent": 0.08,
    "job_fails": 0.25,
    "job_never_ends": 0.1,
    "job_slow": 0.15,
    "job_forgotten": 0.05,
    "result_broken": 0.1,
    "result_refused": 0.1,
    "media_slow": 0.1,
    "media_broken": 0.08,
    "media_lost": 0.08,
    "webhook_lost": 0.3,
    "webhook_twice": 0.2,
    "webhook_late": 0.2,
    "webhook_early": 0.15,
}
"""Kinds of faults with the chance of each at an opportunity."""


CONSEQUENCES: Final = ("append_stale", "append_used", "append_behind", "append_clock")
"""What faults lead to where several processes write: appends without locks that are refused."""


class Faults:
    """Draws faults from the seed. Each history has its own mixture of kinds, some much likelier
    than usual and some left out: faults hide behind one another."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._odds = {
            kind: odds * chance.choice((0, 0.5, 1, 1, 2.5)) for kind, odds in KINDS.items()
        }
        self.fired: Counter[str] = Counter()
        self.is_healed = False

    def strikes(self, kind: str) -> bool:
        """Whether the fault happens here and now."""
        if self.is_healed or self._chance.random() >= self._odds[kind]:
            return False
        self.fired[kind] += 1
        return True
