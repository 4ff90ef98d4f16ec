"""Reads into the memory, without locks, what commands need and it does not have.

It asks on the connection that warm batches go out on, and therefore sees what those that were
sent before leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import MsgspecError

from ledger_service.domain.ids import policy_owner
from ledger_service.domain.world import Need
from ledger_service.engine.memory import Memory
from ledger_service.engine.tickets import Ticket
from ledger_service.errors import CorruptHistory, LedgerError
from ledger_service.store.heads import decode_account, decode_policy, is_old
from ledger_service.store.vault import Vault
from ledger_service.store.wanted import Head, Looked, WantedLook
from ledger_service.store.writing import WritingConnection

LOOK_MAX: Final = 256
"""Accounts read at once."""
LOOKS_MAX: Final = 3
"""How often a ticket may come here before it gets its locks."""
_UNREADABLE: Final = (CorruptHistory, MsgspecError)
"""What is wrong with one account is told under locks, where it is read again."""

_log = logging.getLogger(__name__)


class Lookout:
    """One query at a time, for all that have come meanwhile. `place` gets the tickets back: those
    whose account cannot be remembered need locks."""

    def __init__(self, memory: Memory, vault: Vault, place: Callable[[list[Ticket]], None]) -> None:
        self._memory = memory
        self._vault = vault
        self._place = place
        self._waiting: dict[str, list[tuple[Ticket, Need | None]]] = {}
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def has(self, owner: str) -> bool:
        """Whether somebody waits for this account here."""
        return owner in self._waiting

    def wait(self, ticket: Ticket, connection: WritingConnection, need: Need | None = None) -> None:
        """Have the ticket's account read, and what it needs beside it; it is placed again
        afterwards."""
        owner = ticket.submission.command.owner
        self._waiting.setdefault(owner, []).append((ticket, need))
        if self._task is None:
            self._task = self._loop.create_task(self._work(connection))

    async def _work(self, connection: WritingConnection) -> None:
        while self._waiting:
            owners = sorted(list(self._waiting)[:LOOK_MAX])
            try:
                wanted, asked_at = self._wanted(owners), self._loop.time()
                looked = await connection.look(wanted)
                self._memory.clock.hear(looked.now, asked_at)
                self._keep(owners, wanted, looked)
            except LedgerError:
                pass  # the lane with locks finds out, and tells
            except Exception:
                _log.exception("accounts could not be read for a reason that nobody foresaw")
            tickets = [ticket for owner in owners for ticket, _ in self._waiting.pop(owner)]
            for ticket in tickets:
                ticket.looks += 1
                ticket.needs_locks |= ticket.looks > LOOKS_MAX or not self._memory.has(ticket)
            self._place(tickets)
        self._task = None

    def _wanted(self, owners: list[str]) -> WantedLook:
        tenants = sorted({owner.partition("/")[0] for owner in owners})
        names = [*owners, *map(policy_owner, tenants)]
        waiting = [each for owner in owners for each in self._waiting[owner]]
        needs = [need for _, need in waiting if need is not None]
        private = [ticket for ticket, _ in waiting if ticket.submission.private]
        return WantedLook(
            streams=[(name, name) for name in names],
            holds=sorted({hold for need in needs for hold in need.holds}),
            debits=sorted({debit for need in needs for debit in need.debits}),
            subjects=sorted({ticket.submission.command.owner for ticket in private}),
        )

    def _keep(self, owners: list[str], wanted: WantedLook, looked: Looked) -> None:
        memory = self._memory
        heads = {head.stream: head for head in looked.heads}
        for name, _ in wanted.streams:
            if name in owners:
                self._keep_head(name, heads.get(name))
            else:
                self._keep_policy(name.partition("/")[0], heads.get(name))
        for owner, hold_id in wanted.holds:
            memory.keep_hold(owner, hold_id, looked.holds[hold_id])
        for owner, debit_id in wanted.debits:
            memory.keep_debit(owner, debit_id, looked.debits[debit_id])
        for owner in wanted.subjects:
            self._keep_subject(owner, looked.subject_keys.get(owner))

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

    def _keep_subject(self, owner: str, wrapped: bytes | None) -> None:
        with suppress(*_UNREADABLE):
            if wrapped is None:
                key, wrapped = self._vault.new_key(owner)
                self._memory.keep_subject(owner, key, wrapped, is_stored=False)
            else:
                key = self._vault.unwrap(owner, wrapped)
                self._memory.keep_subject(owner, key, wrapped, is_stored=True)
