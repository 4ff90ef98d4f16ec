"""Everything in a tenant that bears a caller's reference. Methods may raise `Unavailable`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from ledger_service.domain.bearings import bearings_of
from ledger_service.domain.events import decode
from ledger_service.store.pool import Connection, ReadPool, snapshot
from ledger_service.store.statements import load_statements

TAIL_MAX: Final = 5_000
"""Events past the projection's end that one request looks at."""

_SQL: Final = load_statements("history")


class Place(NamedTuple):
    """Where in the log a bearing stands; `ordinal` tells those of one event apart."""

    position: int
    ordinal: int


BEYOND_ALL: Final = Place(2**62, 0)


class Borne(NamedTuple):
    """A thing that bears the reference."""

    place: Place
    owner: str
    kind: str
    id: str
    amount: int
    recorded_at: datetime


class Trails:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def page(
        self, tenant: str, reference: str, before: Place, limit: int
    ) -> tuple[list[Borne], Place | None]:
        """Newest first; the next page lies before the place that comes with it, if there is one.

        Complete whatever the projection knows: what it does not know yet is read from the log.
        """

        async def work(connection: Connection) -> tuple[list[Borne], Place | None]:
            async with snapshot(connection):
                return await _page(connection, tenant, reference, before, limit)

        return await self._pool.read(work)


async def _page(
    connection: Connection, tenant: str, reference: str, before: Place, limit: int
) -> tuple[list[Borne], Place | None]:
    ((projected,),) = await _fetch(connection, "follower_position", ())
    found, next_before = await _tail(connection, tenant, reference, before, projected)
    if len(found) <= limit and next_before is None:
        values = (tenant, reference, *before, limit + 1 - len(found))
        rows = await _fetch(connection, "bearings", values)
        found += [_borne(row) for row in rows]
    if len(found) > limit:
        return found[:limit], found[limit - 1].place
    return found, next_before


async def _tail(
    connection: Connection, tenant: str, reference: str, before: Place, projected: int
) -> tuple[list[Borne], Place | None]:
    """What is not projected yet; and, if not all of it could be looked at, where that ended."""
    text = msgspec.json.encode(reference)[1:-1]
    values = (projected, before.position, TAIL_MAX, tenant, text)
    rows = await _fetch(connection, "tail_of_log", values)
    found = []
    for _, position, owner, topic, state, recorded_at in rows:
        if position is None:
            break
        named = [
            Borne(Place(position, ordinal), owner, it.kind, it.id, it.amount, recorded_at)
            for ordinal, it in enumerate(bearings_of(decode(topic, state)))
            if it.reference == reference
        ]
        found += [borne for borne in reversed(named) if borne.place < before]
    stretch_from = rows[0][0]
    is_cut = stretch_from is not None and stretch_from > projected + 1
    return found, Place(stretch_from, 0) if is_cut else None


def _borne(row: Any) -> Borne:
    position, ordinal, owner, kind, id_, amount, recorded_at = row
    return Borne(Place(position, ordinal), owner, kind, id_, amount, recorded_at.astimezone(UTC))


async def _fetch(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name].encode(), values, binary=True)
    return await cursor.fetchall()
