"""The SQLite file that survives a kill -9 of the emulator."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SCHEMA = Path(__file__).with_name("schema.sql")
_ADDED_COLUMNS: Final[Mapping[str, str]] = {
    "chaos": "TEXT NOT NULL DEFAULT ''",
    "wait_until": "REAL",
    "requeues": "INTEGER NOT NULL DEFAULT 0",
    "payloads_deleted": "INTEGER NOT NULL DEFAULT 0",
    "is_rendered": "INTEGER NOT NULL DEFAULT 0",
    "billable_units": "INTEGER NOT NULL DEFAULT 0",
    "input_faults": "TEXT NOT NULL DEFAULT '[]'",
}
"""Columns of `jobs` that files of an older emulator lack; `schema.sql` explains them."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the database at `path`, creating file and tables where they are missing.

    The connection stands in autocommit; `transaction` groups statements.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    # NORMAL loses nothing when the process dies, only when the machine does: enough for a stand-in.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA.read_text())
    present = {row["name"] for row in connection.execute("PRAGMA table_info(jobs)")}
    for name, kind in _ADDED_COLUMNS.items():
        if name not in present:
            connection.execute(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Never hold it across an ``await``: every task shares the connection."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class Facts:
    """What the emulator must remember beside its jobs: single values by name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def number(self, name: str) -> float | None:
        """A number that was put, if any."""
        value = self._read(name)
        return None if value is None else float(value)

    def text(self, name: str) -> str | None:
        """A text that was put, if any."""
        value = self._read(name)
        return None if value is None else str(value)

    def _read(self, name: str) -> float | str | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def put(self, name: str, value: float | str) -> None:
        """Remember a value, in place of the one before."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
