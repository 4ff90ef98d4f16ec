"""What was said of models at run time, and what has been ordered of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import AsyncRawCursor

from ledger_service.domain.events import decode
from ledger_service.domain.events.generation import GenerationRequested
from ledger_service.errors import CorruptHistory
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

OPERATOR: Final = "*"
"""Stands in the tenant's place where the operator speaks; no tenant can have this name."""
_SQL: Final = load_statements("models")


class SwitchRow(NamedTuple):
    """One tenant's word on one model."""

    tenant: str
    model: str
    available: bool
    deprecated: bool | None
    note: str | None


class Order(NamedTuple):
    """A generation as it was asked for."""

    owner: str
    generation_id: str
    requested: GenerationRequested


async def read_switches(connection: Connection) -> list[SwitchRow]:
    """Everything that was said; there is little of it."""
    return [SwitchRow(*row) for row in await _rows(connection, "switches", ())]


async def set_switch(connection: Connection, row: SwitchRow, changed_by: str) -> None:
    """Replace what was said of a model."""
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL["set_switch"], (*row, changed_by))


async def read_orders(
    connection: Connection, after: str, since: datetime | None, limit: int
) -> list[Order]:
    """Generations with ids after `after`, asked for at or after `since`, the oldest first."""
    rows = await _rows(connection, "orders", (after, since, limit))
    return [_order(*row) for row in rows]


def _order(owner: str, generation_id: str, topic: str, state: bytes) -> Order:
    event = decode(topic, state)
    if not isinstance(event, GenerationRequested):
        raise CorruptHistory(f"{generation_id} begins with {topic}")
    return Order(owner, generation_id, event)


async def _rows(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values)
    return await cursor.fetchall()
