"""Where an old system's balances are read from: a file, or its own PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from contracts.limits import BALANCE_MAX_CREDITS
from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.importing.files import Format, Renames, read_file
from ledger_service.importing.rows import BadRow

Balances = Callable[[], Iterator[tuple[str, int]]]
"""Reads all of them anew at each call."""

CHUNK_ROWS: Final = 2_000


def from_file(path: Path, file_format: Format, renames: Renames) -> Balances:
    """Rows with `account_id` and `balance`; other columns are passed over."""

    def read() -> Iterator[tuple[str, int]]:
        for row in read_file(path, file_format, renames):
            if isinstance(row.fields, BadRow):
                raise RefusedToStart(f"{path}, line {row.line}: {row.fields}")
            values = (row.fields.get("account_id"), row.fields.get("balance"))
            yield _checked(values, f"{path}, line {row.line}")

    return read


def from_table(dsn: str, name: str) -> Balances:
    """A table, or `schema.table`, with the columns `account_id` and `balance`."""
    return from_query(
        dsn,
        sql.SQL("SELECT account_id, balance FROM {}").format(sql.Identifier(*name.split("."))),
    )


def from_query(dsn: str, query: str | sql.Composed) -> Balances:
    """What a query returns: account ids and whole balances, in this order. It can only read."""
    statement = query.encode() if isinstance(query, str) else query

    def read() -> Iterator[tuple[str, int]]:
        try:
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                connection.read_only = True
                with connection.cursor(name="shadow") as cursor:
                    cursor.itersize = CHUNK_ROWS
                    for row in cursor.execute(statement):
                        yield _checked(row, "the query")
        except psycopg.OperationalError as error:
            raise Unavailable(f"the old database: {error}") from None
        except psycopg.Error as error:
            raise RefusedToStart(f"the query: {error}") from None

    return read


def _checked(row: tuple[Any, ...], where: str) -> tuple[str, int]:
    if len(row) == 2 and row[0] is not None and (balance := _whole(row[1])) is not None:
        return str(row[0]), balance
    raise RefusedToStart(f"{where}: not an account_id with a whole balance: {row!r}")


def _whole(value: Any) -> int | None:
    """Also of NUMERIC, which many a credits table has; a part of a credit is not a credit."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    is_whole = math.isfinite(value) and value == int(value)
    return int(value) if is_whole and abs(int(value)) <= BALANCE_MAX_CREDITS else None
