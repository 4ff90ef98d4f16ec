"""`models`: the operator's switches, which hold for every tenant."""

from __future__ import annotations

import argparse

from contracts.limits import MODEL_NOTE_MAX_CHARACTERS
from ledger_service.cli.database import with_database
from ledger_service.errors import RefusedToStart
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import load_document
from ledger_service.settings import read_settings
from ledger_service.store.models import OPERATOR, SwitchRow, read_switches, set_switch

ACTOR = "operator"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its three verbs."""
    parser = commands.add_parser("models", help="take models off the offer, for every tenant")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="everything that was switched, by anybody")
    listing.set_defaults(run=run_list)
    for verb, is_on in (("off", False), ("on", True)):
        switch = verbs.add_parser(verb, help=f"switch a model {verb}: within a second everywhere")
        switch.add_argument("model")
        switch.add_argument("--note", help="what callers are told")
        switch.set_defaults(run=run_switch, is_on=is_on)


def run_list(_: argparse.Namespace) -> int:
    """Print one line per switch; `*` is the operator."""
    for row in sorted(with_database(read_switches)):
        state = "on" if row.available else "off"
        print(f"{row.tenant}  {row.model}  {state}  {row.note or ''}".rstrip())
    return 0


def run_switch(options: argparse.Namespace) -> int:
    """Switch a model for all tenants; doing it again changes nothing."""
    models = Catalogue(load_document(read_settings().catalogue_file)).models()
    if options.model not in {model.model for model in models}:
        raise RefusedToStart(f"there is no model {options.model}")
    if options.note and len(options.note) > MODEL_NOTE_MAX_CHARACTERS:
        raise RefusedToStart(f"a note has at most {MODEL_NOTE_MAX_CHARACTERS} characters")
    row = SwitchRow(OPERATOR, options.model, options.is_on, None, options.note or None)
    with_database(lambda connection: set_switch(connection, row, ACTOR))
    print(f"{options.model} is {'on' if options.is_on else 'off'}")
    return 0
