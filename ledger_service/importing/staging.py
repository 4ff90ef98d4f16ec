"""A file on its way into the ledger, kept in a SQLite database beside it.

There it is put in order and checked as a whole in little memory, however long it is; and what
the ledger has answered is noted, so that an import that was cut short can go on from there. The
ledger needs none of it: its idempotency keys alone see to it that nothing is imported twice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from ledger_service.errors import RefusedToStart
from ledger_service.importing.rows import FIRST_OF_ALL, Step

CHUNK_ROWS: Final = 5_000
FAULTS_MAX: Final = 1_000
"""How many faults are told; a file that has more is wrong in one way, not in a thousand."""

_TABLES: Final = """
CREATE TABLE rows (
    line INTEGER PRIMARY KEY, account_id TEXT NOT NULL, at INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE,
    change INTEGER NOT NULL, refund_of TEXT, op TEXT, command BLOB,
    outcome TEXT, ledger_id TEXT
);
CREATE TABLE origin (fingerprint TEXT NOT NULL);
"""
_ORDER: Final = "CREATE INDEX in_order ON rows (account_id, at, line)"
_REFUNDS: Final = "CREATE INDEX refunds ON rows (refund_of) WHERE refund_of IS NOT NULL"

_INSERT: Final = """
INSERT INTO rows (line, account_id, at, name, change, refund_of, op, command)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING
"""
_CHECKS: Final = (
    """
    SELECT r.line, 'refund_of: no earlier debit of this account has the id ' || r.refund_of
    FROM rows r LEFT JOIN rows d ON d.name = r.refund_of AND d.account_id = r.account_id
      AND d.op = 'debit' AND (d.at, d.line) < (r.at, r.line)
    WHERE r.refund_of IS NOT NULL AND d.line IS NULL
    """,
    """
    SELECT line, 'amount: with this one, more is refunded than was debited'
    FROM (
        SELECT r.line, d.change AS change,
            sum(r.change) OVER (PARTITION BY r.refund_of ORDER BY r.at, r.line) AS refunded
        FROM rows r JOIN rows d ON d.name = r.refund_of AND d.op = 'debit'
    )
    WHERE refunded > -change
    """,
    """
    SELECT line, 'amount: the account is at ' || total || ' after it'
    FROM (
        SELECT line, sum(change) OVER (PARTITION BY account_id ORDER BY at, line) AS total
        FROM rows
    )
    WHERE total < 0
    """,
)
_TODO: Final = """
SELECT line, account_id, at, change, refund_of, command FROM rows
WHERE command IS NOT NULL AND (outcome IS NULL OR NOT ?) AND (account_id, at, line) > (?, ?, ?)
ORDER BY account_id, at, line LIMIT ?
"""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one line."""

    line: int
    detail: str


class Answered(NamedTuple):
    """What the ledger said to a row: `applied`, `replayed` or `refused`, and the id it gave."""

    line: int
    outcome: str
    ledger_id: str | None


class Staged(NamedTuple):
    """A row that has a command, the command being JSON."""

    line: int
    account_id: str
    at: int
    change: int
    refund_of: str | None
    command: bytes


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The file in figures: credits that come in by grants and adjustments, and by refunds, and
    credits that go."""

    rows: int
    accounts: int
    granted: int
    refunded: int
    taken: int


class Staging:
    """One file's rows. Not for use by several threads."""

    def __init__(self, path: Path, fingerprint: str, *, resume: bool) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._is_sealed = resume and path.exists() and self._holds_this_file()
        self.is_resumed = self._is_sealed
        if not self.is_resumed:
            self._remove()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        self._connection = self._opened()
        if not self.is_resumed:
            self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if not self._is_sealed:
            self._remove()

    def add(self, steps: Iterable[Step]) -> list[Fault]:
        """Keep rows; a row whose name is there already is a fault."""
        faults = []
        with self._connection as connection:
            for step in steps:
                added = connection.execute(_INSERT, _values(step))
                if added.rowcount == 0:
                    where = "SELECT line FROM rows WHERE name = ?"
                    (first,) = connection.execute(where, (step.name,)).fetchone()
                    faults.append(Fault(step.line, f"id: the same as on line {first}"))
                if len(faults) == FAULTS_MAX:
                    break
        return faults

    def check(self) -> list[Fault]:
        """Put the rows in order and find what cannot be: refunds of nothing, accounts below 0."""
        self._connection.executescript(f"{_ORDER}; {_REFUNDS};")
        faults = [
            Fault(*found)
            for query in _CHECKS
            for found in self._connection.execute(query).fetchmany(FAULTS_MAX)
        ]
        return sorted(faults, key=lambda fault: fault.line)

    def seal(self) -> None:
        """From now on the rows are known to be good, and `resume` may start from them."""
        with self._connection as connection:
            connection.execute("INSERT INTO origin VALUES (?)", (self._fingerprint,))
        self._is_sealed = True

    def steps(self, *, only_open: bool) -> Iterator[Staged]:
        """All rows that have a command, by account and time; `only_open`: not answered so far."""
        last: tuple[Any, ...] = ("", FIRST_OF_ALL, 0)
        while found := self._connection.execute(_TODO, (only_open, *last, CHUNK_ROWS)).fetchall():
            rows = [Staged(*row) for row in found]
            yield from rows
            last = (rows[-1].account_id, rows[-1].at, rows[-1].line)

    def note(self, answers: Sequence[Answered]) -> None:
        """Keep what the ledger said."""
        with self._connection as connection:
            connection.executemany(
                "UPDATE rows SET outcome = ?, ledger_id = ? WHERE line = ?",
                [(answer.outcome, answer.ledger_id, answer.line) for answer in answers],
            )

    def ledger_id(self, name: str) -> str | None:
        """The ledger's id of what a row brought about."""
        found = self._connection.execute("SELECT ledger_id FROM rows WHERE name = ?", (name,))
        row = found.fetchone()
        return None if row is None else row[0]

    def balances(self) -> Iterator[tuple[str, int]]:
        """Every account's balance at the end of the file."""
        query = "SELECT account_id, sum(change) FROM rows GROUP BY account_id"
        yield from self._connection.execute(query)

    def totals(self) -> Totals:
        """The file in figures."""
        query = """
        SELECT count(*), count(DISTINCT account_id),
            coalesce(sum(change) FILTER (WHERE change > 0 AND refund_of IS NULL), 0),
            coalesce(sum(change) FILTER (WHERE refund_of IS NOT NULL), 0),
            coalesce(-sum(change) FILTER (WHERE change < 0), 0)
        FROM rows
        """
        rows, accounts, granted, refunded, taken = self._connection.execute(query).fetchone()
        return Totals(rows=rows, accounts=accounts, granted=granted, refunded=refunded, taken=taken)

    def count_open(self) -> int:
        """Rows that are still to be sent."""
        query = "SELECT count(*) FROM rows WHERE command IS NOT NULL AND outcome IS NULL"
        count: int = self._connection.execute(query).fetchone()[0]
        return count

    def discard(self) -> None:
        """Nothing is left to be done: the database goes at the end."""
        self._is_sealed = False

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        # A crash of this program loses nothing; one of the machine costs the notes, not the import.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA temp_store = FILE")
        return connection

    def _holds_this_file(self) -> bool:
        """False when a run ended before it had read all of a file."""
        try:
            with closing(self._opened()) as connection:
                found = connection.execute("SELECT fingerprint FROM origin").fetchone()
        except sqlite3.DatabaseError as error:
            raise RefusedToStart(f"{self._path}: {error}; run without --resume") from None
        if found not in {None, (self._fingerprint,)}:
            raise RefusedToStart(
                f"{self._path} is of a file that has changed since, or of other options; "
                "run without --resume: nothing is imported twice"
            )
        return found is not None

    def _remove(self) -> None:
        for suffix in ("", "-journal"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").unlink()


def _values(step: Step) -> tuple[Any, ...]:
    op = command = None
    if step.command is not None:
        op, command = step.command["op"], msgspec.json.encode(step.command)
    return (
        step.line, step.account_id, step.at, step.name, step.change, step.refund_of, op, command
    )  # fmt: skip
