"""Rows of some owners, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import psycopg

from ledger_service.store.statements import load_statements

Connection = psycopg.Connection[Any]

ROWS_PER_FETCH: Final = 2_000
SQL: Final = load_statements("replay")


class Share(msgspec.Struct, frozen=True):
    """The owners whose hash ends in `number`; there are `count` shares, a power of two."""

    number: int = 0
    count: int = 1

    def rows(self, connection: Connection, statement: str) -> Iterator[Any]:
        """What a statement of `queries/replay.sql` finds of these owners."""
        with psycopg.RawServerCursor(connection, statement) as cursor:
            cursor.execute(SQL[statement], (self.count - 1, self.number), binary=True)
            while rows := cursor.fetchmany(ROWS_PER_FETCH):
                yield from rows
