"""`prices`: show the price book, what past generations would have cost under another one, and what
they brought in and cost."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from ledger_service.cli.database import with_database
from ledger_service.errors import RefusedToStart
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import Document, load_document
from ledger_service.generations.margins import Margin, Margins, account_for
from ledger_service.generations.repricing import Sum, reprice, total_of
from ledger_service.settings import read_settings
from ledger_service.store.vault import Vault

_NAME_WIDTH = 32
_MICROS = 1_000_000


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its three verbs."""
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
    margin = verbs.add_parser(
        "margin", help="what past generations brought in and cost; changes nothing"
    )
    margin.add_argument("--file", type=Path, help="costs of this catalogue (CATALOGUE_FILE)")
    margin.add_argument("--since", metavar="DATE", help="2030-01-31, or with a time and offset")
    margin.add_argument("--json", action="store_true", help="print it as JSON, in millionths")
    margin.set_defaults(run=run_margin)


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
    vault = Vault(read_settings().master_key())
    sums = with_database(
        lambda connection: reprice(connection, vault, Catalogue(document), since), autocommit=True
    )
    _print_head(document)
    titles = ("generations", "unreadable", "refused", "charged", "anew", "difference")
    print(f"{'model':<{_NAME_WIDTH}}" + "".join(f"{title:>12}" for title in titles))
    for found in (*sums, total_of(sums)):
        _print_sum(found)
    return 0


def run_margin(options: argparse.Namespace) -> int:
    """Add up the past, with the serving role's rights."""
    document = load_document(str(options.file) if options.file else _catalogue_file())
    since = _instant(options.since) if options.since else None
    margins = with_database(
        lambda connection: account_for(connection, document, since), autocommit=True
    )
    if options.json:
        print(msgspec.json.encode(margins).decode())
        return 0
    _print_head(document)
    print("\n".join(_margin_lines(margins)))
    return 0


def _catalogue_file() -> str:
    """Prices can be shown where there is no database, and so no settings."""
    return os.environ.get("CATALOGUE_FILE", "")


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


def _margin_lines(margins: Margins) -> Iterator[str]:
    titles = ("generations", "charged", "refunded", "units", "revenue", "cost", "margin")
    yield f"{'model':<{_NAME_WIDTH}}" + "".join(f"{title:>14}" for title in titles)
    for found in (*margins.models, margins.total):
        yield _margin_line(found)
    if margins.ours:
        yield f"{'our cost':<{_NAME_WIDTH}}{'generations':>14}{'units':>14}{'cost':>14}  why"
    for own in margins.ours:
        cost = "open" if own.cost_micros is None else _money(own.cost_micros)
        counts = f"{own.generations:>14}{own.units:>14}{cost:>14}"
        yield f"{own.model:<{_NAME_WIDTH}}{counts}  {own.reason}"
    yield from _remarks(margins.total)


def _margin_line(found: Margin) -> str:
    revenue = sum(found.revenue_micros.values()) if len(found.revenue_micros) <= 1 else None
    money = "".join(
        f"{'-' if micros is None else _money(micros):>14}"
        for micros in (revenue, found.cost_micros, found.margin_micros)
    )
    units = "" if found.units is None else found.units
    counts = f"{found.generations:>14}{found.charged:>14}{found.refunded:>14}{units:>14}"
    return f"{found.model:<{_NAME_WIDTH}}{counts}{money}"


def _remarks(total: Margin) -> Iterator[str]:
    """What the figures leave out."""
    if len(total.revenue_micros) > 1:
        shown = ", ".join(
            f"{currency or 'without one'} {_money(micros)}"
            for currency, micros in total.revenue_micros.items()
        )
        yield f"revenue came in several currencies and makes no sum: {shown}"
    if total.unpriced:
        yield f"{total.unpriced} credits brought in nothing: from lots without a cost, or on credit"
    if total.uncosted:
        yield f"{total.uncosted} generations: their models have no unit_cost_micros, so no margin"
    if total.units_assumed:
        yield f"{total.units_assumed} generations: the provider told no units, those sold are taken"


def _money(micros: int) -> str:
    return f"{Decimal(micros) / _MICROS:.4f}"
