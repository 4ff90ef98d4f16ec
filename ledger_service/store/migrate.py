"""The smallest possible migration runner: numbered files, each once, in order.

A file runs in one transaction and its digest is kept: editing an applied file is an error. Files
add: code that does not know them yet goes on serving. One that cannot says so in its first line,
`-- breaking`, and older code stops when it has been applied.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

import psycopg
from psycopg import sql

from ledger_service.errors import RefusedToStart

APP_ROLE = "ledger_app"
_LOCK = 0x1ED6E4  # one migrator at a time

_LEDGER_OF_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS public.ledger_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    is_breaking boolean NOT NULL DEFAULT false
);
ALTER TABLE public.ledger_migrations
ADD COLUMN IF NOT EXISTS is_breaking boolean NOT NULL DEFAULT false
"""


class Migration(NamedTuple):
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_breaking(self) -> bool:
        """Code that does not know it must not serve any more."""
        return self.text.startswith("-- breaking")


def migrations() -> list[Migration]:
    """All files, in order, numbered without gaps from 1."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    found = [Migration(int(f.name[:4]), f.name, f.read_text("utf-8")) for f in files]
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "numbers have a gap"
    return found


def migrate(owner_url: str, app_password: str | None = None) -> list[str]:
    """Apply what is missing and return its names. The serving role gets `app_password`, if any.

    Raises `RefusedToStart` when an applied file was edited since.
    """
    applied = []
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(_LEDGER_OF_MIGRATIONS)
        rows = connection.execute("SELECT number, sha256 FROM public.ledger_migrations").fetchall()
        known: dict[int, str] = dict(rows)
        for migration in migrations():
            if migration.number not in known:
                _apply(connection, migration)
                applied.append(migration.name)
            elif known[migration.number] != migration.sha256:
                raise RefusedToStart(f"{migration.name} was edited after it had been applied")
        if app_password is not None:
            _let_in(connection, app_password)
    return applied


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    with connection.transaction():
        connection.execute(migration.text.encode())
        connection.execute(
            "INSERT INTO public.ledger_migrations (number, name, sha256, is_breaking)"
            " VALUES (%s, %s, %s, %s)",
            (migration.number, migration.name, migration.sha256, migration.is_breaking),
        )


def _let_in(connection: psycopg.Connection, password: str) -> None:
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(APP_ROLE), sql.Literal(password)
        )
    )
