"""`shadow`: watch the ledger beside an old credits table, and tell every difference."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from ledger_service.cli.importing import (
    add_file_options_to,
    add_ledger_to,
    ledger_of,
    renames_of,
    write_report,
)
from ledger_service.errors import RefusedToStart
from ledger_service.importing.comparing import Figure
from ledger_service.importing.files import format_of
from ledger_service.importing.remote import Remote
from ledger_service.importing.shadowing import Sighting, Watch, watch
from ledger_service.importing.sources import Balances, from_file, from_query, from_table


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "shadow", help="compare with an old credits table, once or for as long as you like"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, help="account_id and balance, as CSV or NDJSON")
    source.add_argument("--table", help="a table with the columns account_id and balance")
    source.add_argument("--query", help="a SELECT of account ids and balances")
    parser.add_argument("--dsn", help="the old PostgreSQL, by default SHADOW_DSN")
    add_ledger_to(parser)
    add_file_options_to(parser)
    parser.add_argument(
        "--balance", choices=list(Figure), default=Figure.POSTED, help="which of the ledger's"
    )
    parser.add_argument(
        "--follow", type=_seconds, metavar="SECONDS", help="again and again, until Ctrl-C"
    )
    parser.add_argument(
        "--tolerance", type=_seconds, metavar="SECONDS", default=0.0,
        help="a difference counts when it lasts as long as this",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the outcome as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch; 1 if any difference counted."""
    url, key = ledger_of(options)
    balances = _source(options)
    seen = Watch(tolerance_seconds=options.tolerance)

    async def watched() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with Remote(url, key) as remote:
            await watch(
                remote, balances, Figure(options.balance), seen, _tell,
                follow_seconds=options.follow, stop=stop,
            )  # fmt: skip

    asyncio.run(watched())
    if options.report is not None:
        write_report(options.report, seen)
    print(
        f"{seen.rounds} rounds ({seen.failed_rounds} failed), {seen.accounts} accounts in the "
        f"last: {len(seen.open)} differ now, {len(seen.counted)} differences counted"
    )
    return 1 if seen.counted else 0


def _source(options: argparse.Namespace) -> Balances:
    if options.file is not None:
        file_format = format_of(options.file, options.format)
        return from_file(options.file, file_format, renames_of(options))
    dsn = options.dsn or os.environ.get("SHADOW_DSN", "")
    if not dsn:
        raise RefusedToStart("which database? give --dsn or SHADOW_DSN")
    if options.table is not None:
        return from_table(dsn, options.table)
    return from_query(dsn, options.query)


def _tell(sighting: Sighting, is_over: bool) -> None:
    ledger = "missing" if sighting.ledger is None else str(sighting.ledger)
    if is_over:
        what = f"equal again after {sighting.seconds:.1f} s"
    else:
        word = "DIFFERENCE" if sighting.counts else "differs"
        what = f"{word}: old {sighting.old}, ledger {ledger}"
    print(
        f"{sighting.last_seen_at:%Y-%m-%dT%H:%M:%SZ} {sighting.account_id} {what}, "
        f"first seen {sighting.first_seen_at:%Y-%m-%dT%H:%M:%SZ}",
        flush=True,
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("0 to 86400 seconds")
    return seconds
