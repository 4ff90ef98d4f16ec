"""`python -m tests.soak`: the whole ledger under customers, a provider in chaos, and kills.

PostgreSQL, Valkey, ledger, clockwork, worker and the provider's emulator run as processes of their
own, and are killed and frozen while customers order, cancel and delete. In the end every
generation must have ended once, every credit must be where it belongs, no attempt may have been
sent twice, and no file may lie in the storage that is nobody's.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.soak.running import Outcome, Plan, soak

SHOWN = 20


def main() -> int:
    """Run and print; 1 when something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--generations", type=_count, default=2_000, help="orders in all (%(default)s)")
    add("--customers", type=_count, default=8, help="who order at once (%(default)s)")
    add("--seed", type=int, default=None, help="decides everything but the timing")
    add("--pause-seconds", type=float, default=1.0, help="between two moves of a customer (1)")
    add("--calm-seconds", type=float, default=5.0, help="between two faults (5)")
    add("--deadline-seconds", type=_count, default=60, help="of each generation (60)")
    add("--chaos-rate", type=float, default=0.3, help="share of submits that are spoilt (0.3)")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    plan = Plan(
        seed=seed,
        generations=options.generations,
        customers=options.customers,
        pause_seconds=options.pause_seconds,
        calm_seconds=options.calm_seconds,
        deadline_seconds=options.deadline_seconds,
        chaos_rate=options.chaos_rate,
    )
    print(f"seed {seed}", flush=True)
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

    outcome = soak(plan, progress)
    _print(outcome)
    print(f"seed {seed}: {len(outcome.findings)} findings")
    return 1 if outcome.findings else 0


def _print(outcome: Outcome) -> None:
    total = sum(outcome.endings.values())
    print(f"{total:,} generations in {outcome.seconds:,.0f} s")
    print(f"endings: {_counts(outcome.endings)}")
    print(f"reasons: {_counts(outcome.reasons)}")
    print(f"answers: {_counts(outcome.answers)}")
    print(f"{sum(outcome.faults.values())} faults: {_counts(outcome.faults)}")
    print(
        f"{outcome.attempts:,} attempts, {outcome.jobs:,} jobs at the provider,"
        f" {outcome.refunds:,} refunds, {outcome.files:,} files"
    )
    for finding in outcome.findings[:SHOWN]:
        print(f"FINDING: {finding}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items()))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
