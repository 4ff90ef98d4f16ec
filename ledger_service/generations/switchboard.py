"""Switches of models as this process knows them, never older than `KEEP_SECONDS`.

Orders do not ask the database each: one of those that come when the time is over asks for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from ledger_service.generations.catalogue import UNTOUCHED, Switch, Switches
from ledger_service.store.models import OPERATOR, SwitchRow, read_switches, set_switch
from ledger_service.store.pool import ReadPool

KEEP_SECONDS: Final = 0.5
_LONG_AGO: Final = float("-inf")


class Switchboard:
    """What tenants and the operator said of models. Methods raise `Unavailable`: without the
    database nothing could be ordered either."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._rows: list[SwitchRow] = []
        self._known: dict[str, Switches] = {}
        self._asked_at = _LONG_AGO
        self._set_at = _LONG_AGO
        self._asking: asyncio.Task[None] | None = None

    async def of(self, tenant: str) -> Switches:
        """What holds for a tenant, by model."""
        oldest = time.monotonic() - KEEP_SECONDS
        while self._asked_at < oldest:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
        return self._known.get(tenant) or self._known.get(OPERATOR) or UNTOUCHED

    async def would_be(self, row: SwitchRow) -> Switches:
        """What would hold for a tenant that said this."""
        await self.of(row.tenant)
        return merged([*self._rows, row])[row.tenant]

    async def set(self, row: SwitchRow, changed_by: str) -> None:
        """Say something of a model; here it holds at once. On `Unavailable` it may have been heard
        or not."""
        try:
            await self._pool.write(lambda connection: set_switch(connection, row, changed_by))
        finally:
            self._set_at, self._asked_at = time.monotonic(), _LONG_AGO

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        rows = await self._pool.read(read_switches)
        if asked_at >= self._set_at:  # else it may not have seen what was said meanwhile
            self._rows, self._known, self._asked_at = rows, merged(rows), asked_at


def merged(rows: Iterable[SwitchRow]) -> dict[str, Switches]:
    """Switches by tenant, later rows before earlier ones."""
    said: dict[str, dict[str, Switch]] = {}
    for row in rows:
        switch = Switch(available=row.available, deprecated=row.deprecated, note=row.note)
        said.setdefault(row.tenant, {})[row.model] = switch
    operators = said.get(OPERATOR, {})
    return {
        tenant: operators | {name: _both(operators.get(name), own[name]) for name in own}
        for tenant, own in said.items()
    }


def _both(operators: Switch | None, own: Switch) -> Switch:
    """Either may switch off; for the rest the tenant's own word comes first."""
    if operators is None:
        return own
    return replace(
        own,
        available=operators.available and own.available,
        deprecated=operators.deprecated if own.deprecated is None else own.deprecated,
        note=own.note or operators.note,
    )
