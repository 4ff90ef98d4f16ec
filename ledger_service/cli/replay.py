"""`replay`: fold the log from nothing and compare it with what the ledger says."""

from __future__ import annotations

import argparse
import sys

import msgspec
import psycopg

from ledger_service.audit.replay import LONG_EVENTS, SHARES_MAX, Report, replay
from ledger_service.errors import Unavailable
from ledger_service.settings import read_settings


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay", help="fold the log from nothing and compare; exit 1 on any difference"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        choices=range(1, SHARES_MAX + 1),
        help=f"fold in shares, rounded down to a power of two (1 to {SHARES_MAX}; one per "
        f"processor for more than {LONG_EVENTS:,} events)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay with the serving role's rights, in one snapshot."""
    progress = _show if sys.stderr.isatty() else None
    try:
        report = replay(read_settings().database_url, progress, options.processes)
    except psycopg.OperationalError as error:
        raise Unavailable(str(error).strip()) from None
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    return 1 if report.differences else 0


def _show(position: int, head: int) -> None:
    print(f"\r{position}/{head} events", end="", file=sys.stderr, flush=True)


def _print(report: Report) -> None:
    rate = report.events / report.seconds if report.seconds else 0
    print(
        f"{report.events} events folded in {report.seconds:.2f} s ({rate:,.0f}/s): "
        f"{report.accounts} accounts, {report.generations} generations"
    )
    print(
        f"granted {report.credits_granted}, spent {report.credits_spent}, "
        f"posted {report.credits_posted}"
    )
    for difference in report.differences:
        print(f"DIFFERENCE {difference}")
    if not report.differences:
        print("every balance is what the log says")
