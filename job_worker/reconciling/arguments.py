"""The arguments of `reconcile`, apart from what it does: that imports the whole worker."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Final

EXAMPLES_DEFAULT: Final = 10
_EPILOG: Final = """\
The settings are the worker's own, from the environment; LEDGER_AUDIT_KEY must be among them.

Exit status: 0 nothing drifts, 1 something does, 2 a side could not be read.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reconcile",
        help="compare ledger, provider and storage; changes nothing",
        description="Compare what ledger, provider and storage say of a stretch of time. Changes"
        " nothing.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--since", type=_instant, metavar="ISO", help="from then on (a day before the end)"
    )
    parser.add_argument("--until", type=_instant, metavar="ISO", help="and before then (now)")
    parser.add_argument(
        "--endpoint",
        type=_endpoint,
        action="append",
        default=[],
        metavar="PROVIDER:ENDPOINT",
        help="also look there: where a model was made before the catalogue changed",
    )
    parser.add_argument(
        "--examples",
        type=int,
        choices=range(1001),
        default=EXAMPLES_DEFAULT,
        metavar="N",
        help=f"how many of each kind to show ({EXAMPLES_DEFAULT})",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: not a time such as 2030-01-31T06:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _endpoint(text: str) -> tuple[str, str]:
    provider, _, endpoint = text.partition(":")
    if not provider or not endpoint:
        raise argparse.ArgumentTypeError(f"{text}: not PROVIDER:ENDPOINT, such as fal:acme/boats")
    return provider, endpoint
