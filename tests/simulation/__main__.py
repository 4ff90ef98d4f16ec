"""`python -m tests.simulation`: the ledger, its workers and a provider in virtual time.

`SEED=n` plays that one history, exactly as it was. Without it, `--histories` or `--seconds` of
them, from a seed that is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.simulation.history import Failed, History
from tests.simulation.running import Total, be_quiet, run_histories


def main() -> int:
    """Play and print; 1 when a judge objected, or when a fault never fired."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=_seed_of_environment())
    parser.add_argument("--first-seed", type=int, default=random.randrange(10**9))
    parser.add_argument("--histories", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return _play_one(options.seed)
    seconds = options.seconds
    if options.histories is None and seconds is None:
        seconds = 30.0
    print(f"first seed {options.first_seed}, {options.cores} cores")
    total = run_histories(
        options.first_seed, histories=options.histories, seconds=seconds, cores=options.cores
    )
    _print_total(total)
    return 1 if total.failures or total.never_fired else 0


def _play_one(seed: int) -> int:
    be_quiet()
    try:
        summary = History(seed).run()
    except Failed as failure:
        print(failure)
        return 1
    fired = sum(summary.fired.values())
    print(f"seed {seed}: trace {summary.digest}, {summary.steps} steps, {fired} faults; all held")
    return 0


def _print_total(total: Total) -> None:
    for failure in total.failures[:3]:
        print(failure)
    per_minute = 60 / max(total.seconds, 1e-9)
    print(
        f"{total.histories} histories in {total.seconds:.1f} s"
        f" ({total.histories * per_minute:,.0f} a minute), {total.commands:,} commands"
        f" ({total.commands * per_minute:,.0f} a minute), {total.events:,} events,"
        f" {total.virtual_seconds / 86_400:,.0f} virtual days"
    )
    print("generations:", _counts(total.generations))
    print("faults:", _counts(total.fired))
    if total.never_fired:
        print("FAULTS THAT NEVER FIRED:", ", ".join(total.never_fired))
    print("FAILED" if total.failures else "no judge objected")


def _counts(counter: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _seed_of_environment() -> int | None:
    text = os.environ.get("SEED", "")
    return int(text) if text else None


if __name__ == "__main__":
    sys.exit(main())
