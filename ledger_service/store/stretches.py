"""Following the log in stretches: what was looked at, and how far, are one transaction.

For followers that the clockwork turns. Several may run; a follower that somebody else is turning
is left alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg

from ledger_service.store.statements import load_statements

STRETCH_MAX: Final = 2_000
"""Positions of the log that are looked at in one transaction."""

_SQL: Final = load_statements("stretches")


class Stretch(NamedTuple):
    """Positions after `after`, up to and including `upto`."""

    after: int
    upto: int


@asynccontextmanager
async def next_stretch(
    connection: psycopg.AsyncConnection[Any], follower: str
) -> AsyncIterator[Stretch | None]:
    """What `follower` has not looked at yet, for as long as the transaction around it lasts; None
    when that is nothing, or somebody else is at it. It has been looked at when the block ends well.

    Raises `psycopg.Error`, and then nothing has happened.
    """
    async with connection.transaction():
        row = await (await connection.execute(_SQL["lock"], (follower,))).fetchone()
        if row is None or row[0] == row[1]:
            yield None
            return
        after, head = row
        stretch = Stretch(after, min(after + STRETCH_MAX, head))
        yield stretch
        await connection.execute(_SQL["advance"], (follower, stretch.upto))
