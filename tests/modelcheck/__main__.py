"""`python -m tests.modelcheck`: every interleaving around one generation, judged.

The ledger's real decisions among workers, a provider, webhooks, a clockwork and a network that do
their worst. Without `--depth` it goes on until there is nothing new: minutes with one worker, and
far more with two.
"""

from __future__ import annotations

import argparse
import sys

from tests.modelcheck.actors import Options
from tests.modelcheck.exploring import Explorer, Found

USUAL = Options()


def main() -> int:
    """Explore and print; 1 when a rule does not hold, with the shortest way there."""
    parser = argparse.ArgumentParser(prog="python -m tests.modelcheck", description=__doc__)
    add = parser.add_argument
    add("--depth", type=int, help="moves from the beginning at most (default: no bound)")
    add("--workers", type=int, default=USUAL.workers, help="workers (%(default)s)")
    add("--attempts", type=int, default=USUAL.attempts_max, help="limit of attempts (%(default)s)")
    add("--claims", type=int, default=USUAL.claims_max, help="silent claims (%(default)s)")
    add("--pauses", type=int, default=USUAL.pauses_max, help="attempts held back (%(default)s)")
    add("--plain", action="store_true",
        help="no late reports, no refunds by hand, nothing forgotten")  # fmt: skip
    add("--unlisted", action="store_true", help="the provider's list may lack a submit")
    given = parser.parse_args()
    options = Options(
        workers=given.workers,
        attempts_max=given.attempts,
        claims_max=given.claims,
        pauses_max=given.pauses,
        listing_complete=not given.unlisted,
        has_air=not given.plain,
        by_hand=not given.plain,
        forgets=not given.plain,
    )
    try:
        print(Explorer(options).explore(given.depth))
    except Found as found:
        print(f"{found.rule} does not hold: {found}")
        return 1
    print("every rule holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
