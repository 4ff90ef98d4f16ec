"""`keys`: make, list and revoke API keys, by whoever may reach the database."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from contracts.api.keys import Scope
from ledger_service.cli.database import with_database
from ledger_service.errors import RefusedToStart
from ledger_service.store.keys import (
    NewKey,
    add_key,
    ensure_key,
    list_keys,
    make_key_text,
    revoke_key,
)


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its four verbs."""
    parser = commands.add_parser("keys", help="create, list and revoke API keys")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="make a key and print it, once")
    create.add_argument("--tenant", help="whose key; none for a worker's or an operator's")
    create.add_argument("--scopes", required=True, help='for example "grant spend read"')
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--secret-file", type=Path, help="write it here (0600) and print its id")
    create.set_defaults(run=run_create)
    listing = verbs.add_parser("list", help="list a tenant's keys")
    listing.add_argument("--tenant", help="whose keys; none for those of workers and operators")
    listing.set_defaults(run=run_list)
    revoke = verbs.add_parser("revoke", help="put a key out of force, for ever")
    revoke.add_argument("key_id")
    revoke.add_argument("--tenant", help="whose key; none for a worker's or an operator's")
    revoke.set_defaults(run=run_revoke)
    ensure = verbs.add_parser("ensure", help="register keys that were chosen elsewhere")
    ensure.add_argument("--file", type=Path, required=True, help="[{tenant,name,scopes,key}]")
    ensure.set_defaults(run=run_ensure)


def run_create(options: argparse.Namespace) -> int:
    """Make a key."""
    new = NewKey(
        tenant=options.tenant,
        name=options.name,
        scopes=_scopes(options.scopes),
        key=make_key_text(),
    )
    _check(new)
    stored = with_database(lambda connection: add_key(connection, new))
    if options.secret_file is None:
        print(new.key)
        return 0
    descriptor = os.open(options.secret_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(new.key + "\n")
    print(stored.key_id)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """List keys, newest first."""
    for key in with_database(lambda connection: list_keys(connection, options.tenant)):
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "in force"
        scopes = " ".join(key.scopes)
        print(f"{key.key_id}  {key.created_at:%Y-%m-%d}  {state}  {scopes}  {key.name}")
    return 0


def run_revoke(options: argparse.Namespace) -> int:
    """Revoke a key."""
    stored = with_database(
        lambda connection: revoke_key(connection, options.key_id, options.tenant)
    )
    if stored is None:
        raise RefusedToStart("there is no such key")
    print(f"revoked {stored.key_id}")
    return 0


def run_ensure(options: argparse.Namespace) -> int:
    """Register keys; doing it again changes nothing."""
    try:
        keys = msgspec.json.decode(options.file.read_bytes(), type=list[NewKey])
    except (OSError, msgspec.MsgspecError) as error:
        raise RefusedToStart(f"{options.file}: {error}") from None
    for new in keys:
        _check(new)

    async def work(connection: psycopg.AsyncConnection[Any]) -> None:
        for new in keys:
            await ensure_key(connection, new)

    with_database(work)
    print(f"{len(keys)} keys are in force")
    return 0


def _scopes(text: str) -> tuple[Scope, ...]:
    try:
        return tuple(dict.fromkeys(Scope(word) for word in text.replace(",", " ").split()))
    except ValueError as error:
        raise RefusedToStart(f"{error}; known are {' '.join(Scope)}") from None


def _check(new: NewKey) -> None:
    if new.fault is not None:
        raise RefusedToStart(f"{new.name}: {new.fault}")
