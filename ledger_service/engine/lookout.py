"""Reads heads into the memory, without locks, for those whose account is not remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import MsgspecError

from ledger_service.domain.ids import policy_owner
from ledger_service.engine.memory import Memory
from ledger_service.engine.tickets import Ticket
from ledger_service.errors import CorruptHistory, LedgerError
from ledger_service.store.heads import decode_account, decode_policy, is_old
from ledger_service.store.writing import Head, WritingConnection

LOOK_MAX: Final = 256
"""Accounts read at once."""
_UNREADABLE: Final = (CorruptHistory, MsgspecError)
"""What is wrong with one account is told under locks, where it is read again."""

_log = logging.getLogger(__name__)


class Lookout:
    """One query at a time, for all that have come meanwhile. `place` gets the tickets back: those
    whose account cannot be remembered need locks."""

    def __init__(self, memory: Memory, place: Callable[[list[Ticket]], None]) -> None:
        self._memory = memory
        self._place = place
        self._waiting: dict[str, list[Ticket]] = {}
        self._task: asyncio.Task[None] | None = None

    def has(self, owner: str) -> bool:
        """Whether somebody waits for this account here."""
        return owner in self._waiting

    def wait(self, ticket: Ticket, connection: WritingConnection) -> None:
        """Have the ticket's account read; it is placed again afterwards."""
        self._waiting.setdefault(ticket.submission.command.owner, []).append(ticket)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(connection))

    async def _work(self, connection: WritingConnection) -> None:
        while self._waiting:
            owners = sorted(list(self._waiting)[:LOOK_MAX])
            try:
                await self._look(owners, connection)
            except LedgerError:
                pass  # the lane with locks finds out, and tells
            except Exception:
                _log.exception("heads could not be read for a reason that nobody foresaw")
            tickets = [ticket for owner in owners for ticket in self._waiting.pop(owner)]
            for ticket in tickets:
                owner = ticket.submission.command.owner
                ticket.needs_locks |= not self._memory.has(owner)
            self._place(tickets)
        self._task = None

    async def _look(self, owners: list[str], connection: WritingConnection) -> None:
        tenants = sorted({owner.partition("/")[0] for owner in owners})
        policies = {policy_owner(tenant): tenant for tenant in tenants}
        looked = await connection.look([(name, name) for name in (*owners, *policies)])
        self._memory.clock.hear(looked.now)
        heads = {head.stream: head for head in looked.heads}
        for owner in owners:
            self._keep_head(owner, heads.get(owner))
        for name, tenant in policies.items():
            self._keep_policy(tenant, heads.get(name))

    def _keep_head(self, owner: str, head: Head | None) -> None:
        if head is None:
            self._memory.keep_head(owner, None)
        elif not is_old(head.snapshot_version):
            with suppress(*_UNREADABLE):
                state = decode_account(head.snapshot, head.snapshot_version)
                self._memory.keep_head(owner, state)

    def _keep_policy(self, tenant: str, head: Head | None) -> None:
        if head is None:
            self._memory.keep_policy(tenant, None)
        elif not is_old(head.snapshot_version):
            with suppress(*_UNREADABLE):
                policy = decode_policy(head.snapshot, head.snapshot_version)
                self._memory.keep_policy(tenant, policy)
