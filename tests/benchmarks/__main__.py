"""`make bench`: one table, our figures beside their yardsticks, all from this machine.

Each figure is measured in turns with its yardstick; what stands in the table are medians. Every
part ends with a replay of its ledger: one that does not add up ends the run with an error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.benchmarks import report
from tests.benchmarks.client import has_wrk
from tests.benchmarks.engine import engine_rows
from tests.benchmarks.growth import growth_rows
from tests.benchmarks.holds import hold_rows
from tests.benchmarks.http import http_rows
from tests.benchmarks.measure import Machine, Row, Run, Turns
from tests.benchmarks.peers import peer_rows
from tests.benchmarks.pressure import pressure_rows
from tests.benchmarks.replaying import replay_rows
from tests.benchmarks.stand import SETTINGS, Stand

Part = Callable[[Stand, Turns, argparse.Namespace], list[Row]]

PARTS: dict[str, tuple[Part, str]] = {
    "engine": (
        lambda stand, turns, options: engine_rows(stand, turns, options.accounts),
        "spends without HTTP, beside raw SQL",
    ),
    "holds": (
        lambda stand, turns, options: hold_rows(stand, turns, options.open_holds),
        "holds placed and captured, beside 100,000 open ones",
    ),
    "http": (
        lambda stand, turns, _: http_rows(stand, turns),
        "the API, beside servers that do nothing",
    ),
    "replay": (lambda stand, turns, _: replay_rows(stand, turns), "the log folded and verified"),
    "peers": (
        lambda stand, turns, _: peer_rows(stand, turns),
        "the event-sourcing library's own recorder, a row lock per debit",
    ),
    "pressure": (
        lambda stand, turns, _: pressure_rows(stand, turns),
        "overload, exports, rebuilds, frozen clients, a long run",
    ),
    "growth": (
        lambda stand, turns, options: growth_rows(stand, turns, options.sizes),
        "1k to 10M events, 1M accounts (takes half an hour; only when named)",
    ),
}
BY_DEFAULT = ("engine", "holds", "http", "replay", "peers", "pressure")


def main() -> int:
    """Measure and print; exit 1 when a ledger does not add up afterwards."""
    options = _options()
    if options.pages:
        report.write_pages()
        return 0
    turns = Turns(options.seconds, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        stand = Stand(folder)
        try:
            client = "wrk and a client of our own" if has_wrk() else "a client of our own"
            machine = Machine.here(stand.postgresql, SETTINGS, client)
            rows = [row for part in options.parts for row in PARTS[part][0](stand, turns, options)]
        finally:
            stand.close()
    run = Run(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine=machine,
        seconds=turns.seconds,
        rounds=turns.rounds,
        rows=rows,
    )
    if options.json:
        print(msgspec.json.encode(run).decode())
    else:
        report.print_table(run)
    if options.record:
        report.record(run)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog="parts:\n" + "\n".join(f"  {name:<10} {text}" for name, (_, text) in PARTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"see below; without any: {', '.join(BY_DEFAULT)}"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each")
    parser.add_argument("--quick", action="store_true", help="one short turn of each: a try")
    parser.add_argument("--accounts", type=int, default=100_000, help="accounts when spread")
    parser.add_argument("--open-holds", type=int, default=100_000, help="on one account")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1_000, 1_000_000, 10_000_000], help="events"
    )
    parser.add_argument("--folder", default=None, help="where the database lies")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--record", action="store_true", help="keep the run in docs/")
    parser.add_argument("--pages", action="store_true", help="only write the pages in docs/ anew")
    options = parser.parse_args()
    options.parts = options.parts or BY_DEFAULT
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if options.quick:
        options.seconds, options.rounds = 1.0, 1
        options.accounts, options.open_holds = 2_000, 2_000
    return options


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
