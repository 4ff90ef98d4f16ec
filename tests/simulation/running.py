"""Many histories, on several cores, and what came of them together."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.simulation.faults import CONSEQUENCES, KINDS
from tests.simulation.history import Failed, History, Summary

ENOUGH: Final = 200
"""Histories in which each kind of fault must have fired at least once."""
_SEEDS_PER_TASK: Final = 10


class Total(msgspec.Struct, kw_only=True):
    """What came of a run; `failures` are readable. A run in which a fault never fired has not
    tested what it says, so that is a failure too."""

    histories: int = 0
    commands: int = 0
    events: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0
    generations: Counter[str] = msgspec.field(default_factory=Counter)
    fired: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[str] = msgspec.field(default_factory=list)

    def add(self, summary: Summary) -> None:
        """One more history that went well."""
        self.histories += 1
        self.commands += summary.commands
        self.events += summary.events
        self.virtual_seconds += summary.virtual_seconds
        self.generations += summary.generations
        self.fired += summary.fired

    @property
    def never_fired(self) -> list[str]:
        """Kinds of faults that should have fired by now, and did not."""
        if self.histories < ENOUGH:
            return []
        return [kind for kind in (*KINDS, *CONSEQUENCES) if not self.fired[kind]]


def run_histories(
    first_seed: int, *, histories: int | None, seconds: float | None, cores: int
) -> Total:
    """Run seeds from `first_seed` on, so many or for so long, up to the first failure."""
    total, started = Total(), time.monotonic()
    rounds = _rounds(first_seed, histories, cores)
    with multiprocessing.Pool(cores, initializer=be_quiet) as pool:
        for tasks in rounds:
            for result in pool.imap(play, tasks):
                for summary in result:
                    if isinstance(summary, str):
                        total.failures.append(summary)
                    else:
                        total.add(summary)
            total.seconds = time.monotonic() - started
            if total.failures or (seconds is not None and total.seconds >= seconds):
                break
    return total


def play(seeds: list[int]) -> list[Summary | str]:
    """Summaries, and what failed as text."""
    results: list[Summary | str] = []
    for seed in seeds:
        try:
            results.append(History(seed).run())
        except Failed as failure:
            results.append(str(failure))
    return results


def be_quiet() -> None:
    """Both services complain of the troubles that they are put to; that is not news here."""
    for name in ("ledger_service", "job_worker"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


def _rounds(first_seed: int, histories: int | None, cores: int) -> Iterator[list[list[int]]]:
    """Rounds of tasks, each a list of seeds; without a number they never end."""
    begin, size = first_seed, _SEEDS_PER_TASK * cores * 2
    end = None if histories is None else first_seed + histories
    while end is None or begin < end:
        until = begin + size if end is None else min(begin + size, end)
        seeds = list(range(begin, until))
        yield [seeds[n : n + _SEEDS_PER_TASK] for n in range(0, len(seeds), _SEEDS_PER_TASK)]
        begin = until
