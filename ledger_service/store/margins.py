"""Generations with everything that their money depends on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncRawCursor

from ledger_service.domain.events import TOPICS, decode
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted
from ledger_service.domain.events.generation import (
    GenerationCancelled,
    GenerationEnded,
    GenerationExpired,
    GenerationFailed,
    GenerationRequested,
    GenerationSucceeded,
    LateFactRecorded,
)
from ledger_service.domain.ids import generation_stream, version_in
from ledger_service.domain.world import DebitState, debit_state
from ledger_service.errors import CorruptHistory
from ledger_service.store.heads import decode_lot
from ledger_service.store.models import Order
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

_SQL: Final = load_statements("margins")
_KINDS: Final = (
    *(GenerationSucceeded, GenerationFailed, GenerationCancelled, GenerationExpired),
    LateFactRecorded,
)
_ENDINGS: Final = [topic for topic, kind in TOPICS.items() if kind in _KINDS]

LotKey = tuple[str, str]
"""An owner, and the id of one of its lots."""


class LotCost(NamedTuple):
    """What a credit of a lot brought in: millionths of a currency; null: nobody said."""

    unit_cost_micros: int | None
    currency: str | None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One generation: how it was asked for and ended, what was learnt later, and who paid.

    `costs` are those of the lots of the debit's slices, in their order.
    """

    requested: GenerationRequested
    ending: GenerationSucceeded | GenerationEnded | None = None
    late_facts: tuple[LateFactRecorded, ...] = ()
    debit: DebitState | None = None
    costs: tuple[LotCost, ...] = ()


async def read_made(connection: Connection, orders: Sequence[Order]) -> list[Made]:
    """The generations of these orders as they are now; call it within one snapshot."""
    told = await _told(connection, orders)
    debits = await _debits(connection, orders)
    lots = {
        (order.owner, piece.grant_id)
        for order in orders
        if (debit := debits.get(order.requested.debit_id or "")) is not None
        for piece in debit.slices
    }
    costs = await _costs(connection, lots)
    return [_made(order, told, debits, costs) for order in orders]


def _made(
    order: Order,
    told: Mapping[str, Sequence[Any]],
    debits: Mapping[str, DebitState],
    costs: Mapping[LotKey, LotCost],
) -> Made:
    events = told.get(generation_stream(order.owner, order.generation_id), ())
    endings = [event for event in events if not isinstance(event, LateFactRecorded)]
    debit = debits.get(order.requested.debit_id or "")
    return Made(
        requested=order.requested,
        ending=endings[0] if endings else None,
        late_facts=tuple(event for event in events if isinstance(event, LateFactRecorded)),
        debit=debit,
        costs=tuple(costs[order.owner, piece.grant_id] for piece in debit.slices) if debit else (),
    )


async def _told(connection: Connection, orders: Sequence[Order]) -> dict[str, list[Any]]:
    """Endings and late facts by stream, in their order."""
    owners = [order.owner for order in orders]
    streams = [generation_stream(order.owner, order.generation_id) for order in orders]
    found: dict[str, list[Any]] = defaultdict(list)
    for stream, topic, state in await _rows(connection, "endings", (owners, streams, _ENDINGS)):
        found[stream].append(decode(topic, state))
    return found


async def _debits(connection: Connection, orders: Sequence[Order]) -> dict[str, DebitState]:
    wanted = [
        (order.owner, order.requested.debit_id) for order in orders if order.requested.debit_id
    ]
    rows = await _rows(connection, "debits", _located("dbt", wanted))
    found = {}
    for debit_id, topic, state, given_back in rows:
        event = decode(topic, state)
        if not isinstance(event, CreditsDebited):
            raise CorruptHistory(f"{debit_id} is {topic}")
        found[debit_id] = debit_state(event, given_back)
    return found


async def _costs(connection: Connection, lots: Iterable[LotKey]) -> dict[LotKey, LotCost]:
    keys = sorted(lots)
    columns = ([owner for owner, _ in keys], [grant_id for _, grant_id in keys])
    rows = await _rows(connection, "lots", columns)
    roots = sorted({(root_owner, root_id) for *_, root_owner, root_id in rows})
    currencies = {}
    for grant_id, topic, state in await _rows(connection, "grants", _located("grt", roots)):
        event = decode(topic, state)
        # Credits that came back after their debt was repaid have no grant, and no currency.
        currencies[grant_id] = event.currency if isinstance(event, CreditsGranted) else None
    return {
        (owner, grant_id): LotCost(decode_lot(state).unit_cost_micros, currencies.get(root_id))
        for owner, grant_id, state, _, root_id in rows
    }


def _located(
    prefix: str, wanted: Sequence[tuple[str, str]]
) -> tuple[list[str], list[str], list[int]]:
    """Owners, ids and the versions that the ids name, as columns."""
    versions = [version_in(prefix, text, owner) for owner, text in wanted]
    for (_, text), version in zip(wanted, versions, strict=True):
        if version is None:
            raise CorruptHistory(f"{text} names no event of its account")
    owners, ids = [owner for owner, _ in wanted], [text for _, text in wanted]
    return owners, ids, [version for version in versions if version is not None]


async def _rows(connection: Connection, name: str, values: tuple[Any, ...]) -> list[Any]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values)
    return await cursor.fetchall()
