"""`python -m tests.oracle`: judge a ledger by the oracle, over HTTP, with random commands."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import Caller, LiveLedger, environment, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes, scratch_folder
from tests.oracle.driving import EVERY_COMMAND, Drive
from tests.oracle.families import Family

HISTORY_SHOWN = 400
SHOWN = 8
PROGRESS_SECONDS = 2.0


def main() -> int:
    """Run, and tell what was found; 1 when the ledger and the oracle disagree."""
    parser = argparse.ArgumentParser(prog="oracle", description=__doc__)
    parser.add_argument("--commands", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None, help="the same seed asks the same")
    parser.add_argument("--family", type=int, default=None, help="only this family of the seed")
    parser.add_argument("--url", help="a ledger that runs already; needs --key")
    parser.add_argument("--key", help="an API key with all scopes of a tenant that may be spoiled")
    parser.add_argument("--no-clockwork", action="store_true", help="nobody sweeps but commands")
    parser.add_argument("--ask", help="only these commands of the oracle, with commas between")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    if options.url:
        return _drive(Caller(options.url, options.key), None, seed, options)
    with _own_ledger(clockwork=not options.no_clockwork) as live:
        return _drive(live.caller, HandWorker(live.worker), seed, options)


@contextmanager
def _own_ledger(*, clockwork: bool) -> Iterator[LiveLedger]:
    """A PostgreSQL, a ledger and a clockwork of this run alone."""
    with scratch_folder() as folder, TemporaryDirectory() as logs:
        cluster, processes = Cluster(folder), Processes(Path(logs))
        try:
            live = serve(processes, cluster.new_database(TEMPLATE))
            if clockwork:
                env = environment(live.database, Path(logs))
                processes.start("ledger_service", "clockwork", env=env)
            yield live
            live.close()
            assert "Traceback" not in live.process.text(), live.process.text()[-4_000:]
        finally:
            processes.end_all()
            cluster.process.stop()


def _drive(
    caller: Caller, worker: HandWorker | None, seed: int, options: argparse.Namespace
) -> int:
    asked = _asked(options.ask)
    drive = Drive(caller.http, seed, worker=worker, only=options.family, commands=asked)
    started = shown = time.monotonic()

    def progress(done: int) -> None:
        nonlocal shown
        if time.monotonic() - shown < PROGRESS_SECONDS and done < options.commands:
            return
        shown = time.monotonic()
        speed = done / (shown - started)
        line = f"\r{done:>9,} of {options.commands:,} commands, {speed:,.0f} a second"
        ended = len(drive.disagreements)
        print(f"{line}, {ended} disagreements", end="", file=sys.stderr, flush=True)

    drive.run(options.commands, progress)
    print(file=sys.stderr)
    for what, count in sorted(drive.tally.items()):
        print(f"{count:>9,} {what}")
    _tell(drive.disagreements)
    print(f"seed {seed}: {drive.done:,} commands, {len(drive.disagreements)} disagreements")
    return 1 if drive.disagreements else 0


def _asked(names: str | None) -> frozenset[str]:
    return frozenset(names.split(",")) if names else EVERY_COMMAND


def _tell(disagreements: list[Family]) -> None:
    shortest = sorted(disagreements, key=lambda family: len(family.history))
    for family in shortest[:SHOWN]:
        print(f"\nfamily {family.number}, policy {family.world.policy}")
        print("\n".join(family.history[-HISTORY_SHOWN:]))
        print("\n".join(family.differences))
    kinds = Counter(family.differences[0][:60] for family in disagreements)
    for kind, count in kinds.most_common():
        print(f"{count:>5} {kind}")


if __name__ == "__main__":
    sys.exit(main())
