"""The command line: `credit-ledger serve | worker | clockwork | migrate | keys | models | prices |
replay | projections | import | shadow`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from ledger_service.errors import LedgerError, RefusedToStart

MODULES: Final = {
    name: name
    for name in (
        *("serve", "worker", "clockwork", "migrate", "keys", "models", "prices", "replay"),
        *("projections", "import", "shadow"),
    )
} | {"import": "importing"}
"""Where each command is declared; in the order of `--help`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="credit-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A short command takes a fifth of the time without what the others import.
    for name in given[:1] if given[:1] and given[0] in MODULES else MODULES:
        import_module(f"{__name__}.{MODULES[name]}").add_to(commands)
    options = parser.parse_args(given)
    try:
        if not __debug__:
            raise RefusedToStart("assertions are switched off (-O); the ledger relies on them")
        status: int = options.run(options)
    except LedgerError as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        return 1
    return status
