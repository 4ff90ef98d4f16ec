"""`import`: bring another system's balances or history into the ledger, and compare."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import msgspec

from ledger_service.errors import RefusedToStart
from ledger_service.importing.comparing import Comparison
from ledger_service.importing.files import Format, Renames, format_of
from ledger_service.importing.rows import FIELDS
from ledger_service.importing.running import Plan, Report, run_import
from ledger_service.importing.sending import Sent
from ledger_service.importing.staging import Totals

LINES_MAX = 20
"""How many of a kind are printed; the report has more."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "import", help="import balances or history; exit 1 on any fault or difference"
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    add_ledger_to(parser)
    add_file_options_to(parser)
    parser.add_argument("--dry-run", action="store_true", help="check, ask, and change nothing")
    parser.add_argument("--resume", action="store_true", help="do not repeat what was answered")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the outcome as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import a file; running it again imports nothing twice."""
    url, key = ledger_of(options)
    plan = Plan(
        file=options.file,
        file_format=format_of(options.file, options.format),
        renames=renames_of(options),
        url=url,
        api_key=key,
        is_dry_run=options.dry_run,
        resume=options.resume,
    )
    report = asyncio.run(run_import(plan))
    if options.report is not None:
        write_report(options.report, report)
    _print(report)
    return 0 if report.is_good else 1


def add_ledger_to(parser: argparse.ArgumentParser) -> None:
    """The options that say which ledger."""
    parser.add_argument("--url", help="the ledger's address, by default LEDGER_URL")
    parser.add_argument("--key", help="an API key; rather set LEDGER_API_KEY, which nobody sees")


def add_file_options_to(parser: argparse.ArgumentParser) -> None:
    """The options that say how a file is written."""
    parser.add_argument("--format", choices=list(Format), help="by default what the name says")
    parser.add_argument(
        "--map", action="append", default=[], metavar="COLUMN=FIELD",
        help="a column's name in the file and ours; none after the = passes it over",
    )  # fmt: skip


def ledger_of(options: argparse.Namespace) -> tuple[str, str]:
    """Address and key. Raises `RefusedToStart` when one is missing."""
    url = options.url or os.environ.get("LEDGER_URL", "")
    key = options.key or os.environ.get("LEDGER_API_KEY", "")
    if not url or not key:
        raise RefusedToStart("which ledger? give --url and --key, or LEDGER_URL and LEDGER_API_KEY")
    return url, key


def renames_of(options: argparse.Namespace) -> Renames:
    """The columns' names. Raises `RefusedToStart`."""
    renames: dict[str, str] = {}
    for text in options.map:
        column, sign, field = text.partition("=")
        if not column or not sign or (field and field not in FIELDS):
            raise RefusedToStart(f"--map {text}: not COLUMN=FIELD; fields are {sorted(FIELDS)}")
        renames[column] = field
    return renames


def write_report(path: Path, report: msgspec.Struct) -> None:
    """Write a report as JSON. Raises `RefusedToStart`."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    except OSError as error:
        raise RefusedToStart(f"{path}: {error.strerror}") from None


def _print(report: Report) -> None:
    for fault in report.faults[:LINES_MAX]:
        print(f"line {fault.line}: {fault.detail}", file=sys.stderr)
    if report.faults:
        print(f"{len(report.faults)} faults; nothing was sent")
        return
    assert report.totals is not None
    assert report.sent is not None
    assert report.comparison is not None
    _print_totals(report.totals)
    _print_sent(report.sent, report.dry_run)
    _print_comparison(report.comparison, report.dry_run)


def _print_totals(totals: Totals) -> None:
    print(
        f"{totals.rows} rows of {totals.accounts} accounts: granted {totals.granted}, "
        f"refunded {totals.refunded}, taken {totals.taken}"
    )


def _print_sent(sent: Sent, is_dry_run: bool) -> None:
    if is_dry_run:
        print(f"dry run: {sent.applied} would be applied, {sent.refused} refused")
    else:
        print(
            f"{sent.applied} applied, {sent.replayed} were there before, {sent.refused} refused, "
            f"{sent.held_back} held back after a refusal"
        )
    for refusal in sent.refusals[:LINES_MAX]:
        print(
            f"line {refusal.line}: {refusal.account_id}: {refusal.code} {refusal.detail}",
            file=sys.stderr,
        )


def _print_comparison(found: Comparison, is_dry_run: bool) -> None:
    when = "the ledger as it is now: " if is_dry_run else ""
    print(
        f"{when}{found.equal} accounts equal, {found.different} different, "
        f"{found.missing} missing; credits: file {found.file_credits}, "
        f"ledger {found.ledger_credits}"
    )
    if is_dry_run or not found.differences:
        return
    print(f"{'account':<40} {'file':>16} {'ledger':>16} {'ledger - file':>16}")
    for one in found.differences[:LINES_MAX]:
        ledger = "missing" if one.ledger is None else str(one.ledger)
        print(
            f"{one.account_id:<40} {one.file:>16} {ledger:>16} {(one.ledger or 0) - one.file:>+16}"
        )
    left = found.different + found.missing - LINES_MAX
    if left > 0:
        print(f"and {left} more")
