"""The command line: `credit-ledger serve | worker | clockwork | migrate | keys | models | prices |
replay | projections | import | shadow`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ledger_service.cli import (
    clockwork,
    importing,
    keys,
    migrate,
    models,
    prices,
    projections,
    replay,
    serve,
    shadow,
    worker,
)
from ledger_service.errors import LedgerError, RefusedToStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    parser = argparse.ArgumentParser(prog="credit-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        serve, worker, clockwork, migrate, keys, models, prices, replay, projections, importing,
        shadow,
    ):  # fmt: skip
        module.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        if not __debug__:
            raise RefusedToStart("assertions are switched off (-O); the ledger relies on them")
        status: int = options.run(options)
    except LedgerError as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        return 1
    return status
