"""`migrate`: bring the database to the schema that this code knows."""

from __future__ import annotations

import argparse

import psycopg

from ledger_service.errors import Unavailable
from ledger_service.settings import read_settings
from ledger_service.store.migrate import migrate


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("migrate", help="create or update the schema and its roles")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Apply what is missing, as the owner role (DATABASE_OWNER_URL)."""
    settings = read_settings()
    try:
        applied = migrate(settings.owner_url, settings.ledger_app_password or None)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database: {error}") from None
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("nothing to apply")
    return 0
