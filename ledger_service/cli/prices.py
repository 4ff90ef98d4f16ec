"""`prices`: show the price book, or what past generations would have cost under another one."""

from __future__ import annotations

import argparse
import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import Document, load_document
from ledger_service.generations.repricing import Sum, reprice, total_of
from ledger_service.settings import Settings, read_settings
from ledger_service.store.vault import Vault

_NAME_WIDTH = 32


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its two verbs."""
    parser = commands.add_parser("prices", help="show prices, or try other ones on the past")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("show", help="the catalogue's prices")
    show.add_argument("--file", type=Path, help="of this catalogue; by default CATALOGUE_FILE")
    show.set_defaults(run=run_show)
    simulate = verbs.add_parser(
        "simulate", help="what past generations would have cost; changes nothing"
    )
    simulate.add_argument("--file", type=Path, required=True, help="a catalogue with new prices")
    simulate.add_argument("--since", metavar="DATE", help="2030-01-31, or with a time and offset")
    simulate.set_defaults(run=run_simulate)


def run_show(options: argparse.Namespace) -> int:
    """Print each model's price, for its default input and by its rule."""
    document = load_document(str(options.file) if options.file else _catalogue_file())
    _print_head(document)
    for model in Catalogue(document).models():
        rule = model.price_rule
        state = "" if model.available else "  unavailable"
        state += "  deprecated" if model.deprecated else ""
        print(
            f"{model.model:<{_NAME_WIDTH}} {model.price:>6}  {rule.type}"
            f" {rule.unit_price_millis / 1000:g}{state}"
        )
        for option, table in rule.factors.items():
            shown = ", ".join(f"{value} x{permille / 1000:g}" for value, permille in table.items())
            print(f"{'':<{_NAME_WIDTH}} {'':>6}  {option}: {shown}")
    return 0


def run_simulate(options: argparse.Namespace) -> int:
    """Price the past anew, with the serving role's rights."""
    document = load_document(str(options.file))
    since = _instant(options.since) if options.since else None
    try:
        sums = asyncio.run(_simulate(read_settings(), document, since))
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database: {error}") from None
    _print_head(document)
    titles = ("generations", "unreadable", "refused", "charged", "anew", "difference")
    print(f"{'model':<{_NAME_WIDTH}}" + "".join(f"{title:>12}" for title in titles))
    for found in (*sums, total_of(sums)):
        _print_sum(found)
    return 0


def _catalogue_file() -> str:
    """Prices can be shown where there is no database, and so no settings."""
    return os.environ.get("CATALOGUE_FILE", "")


async def _simulate(settings: Settings, document: Document, since: datetime | None) -> list[Sum]:
    connect = psycopg.AsyncConnection.connect(
        settings.database_url, autocommit=True, connect_timeout=5
    )
    async with await connect as connection:
        return await reprice(connection, Vault(settings.master_key()), Catalogue(document), since)


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedToStart(f"--since {text}: not a date such as 2030-01-31") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _print_head(document: Document) -> None:
    print(f"book {document.book}, digest {document.digest}")


def _print_sum(found: Sum) -> None:
    numbers = (found.generations, found.unreadable, found.refused, found.charged, found.anew)
    print(
        f"{found.model:<{_NAME_WIDTH}}"
        + "".join(f"{number:>12}" for number in numbers)
        + f"{found.difference:>+12}"
    )
