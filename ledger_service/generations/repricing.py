"""What past generations would have cost under other prices.

Nothing is changed. Inputs are read from the vault, as far as they have not been erased, and never
leave this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import Catalogue
from ledger_service.store.models import Order, read_orders
from ledger_service.store.pool import Connection, snapshot
from ledger_service.store.vault import Vault

ORDERS_PER_READ: Final = 500


class Sum(msgspec.Struct, kw_only=True):
    """One model's generations. Credits are of those that could be priced anew: `unreadable` ones
    have no input left, `refused` ones could not be ordered under the new document."""

    model: str
    generations: int = 0
    unreadable: int = 0
    refused: int = 0
    charged: int = 0
    anew: int = 0

    @property
    def difference(self) -> int:
        """Credits more (or less) under the new prices."""
        return self.anew - self.charged


class Repricing:
    """Sums by model, of all orders that it was given."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._sums: dict[str, Sum] = {}

    @property
    def sums(self) -> list[Sum]:
        """By the models' names."""
        return [self._sums[name] for name in sorted(self._sums)]

    def add(self, model: str, charged: int, content: dict[str, Any] | None) -> None:
        """Price one order anew; `content` null: its input was erased."""
        found = self._sums.setdefault(model, Sum(model=model))
        found.generations += 1
        if content is None:
            found.unreadable += 1
            return
        try:
            line = self._catalogue.orderable(model, content).price(content)
        except Rejected:
            found.refused += 1
            return
        found.charged += charged
        found.anew += line.total


def total_of(sums: Iterable[Sum]) -> Sum:
    """All models together."""
    counted: Counter[str] = Counter()
    for found in sums:
        counted.update({k: v for k, v in msgspec.structs.asdict(found).items() if k != "model"})
    return Sum(model="total", **counted)


async def reprice(
    connection: Connection, vault: Vault, catalogue: Catalogue, since: datetime | None = None
) -> list[Sum]:
    """Price all generations anew that were asked for at or after `since`, in one snapshot."""
    repricing, after = Repricing(catalogue), ""
    async with snapshot(connection):
        while orders := await read_orders(connection, after, since, ORDERS_PER_READ):
            after = orders[-1].generation_id
            contents = await _contents(connection, vault, orders)
            for order in orders:
                requested = order.requested
                repricing.add(requested.model, requested.price, contents[requested.private])
    return repricing.sums


async def _contents(
    connection: Connection, vault: Vault, orders: list[Order]
) -> dict[str, dict[str, Any] | None]:
    wanted = [(order.owner, order.requested.private) for order in orders]
    opened = await vault.open_many(connection, wanted)
    return {digest: None if kept is None else kept.get("input") for digest, kept in opened.items()}
