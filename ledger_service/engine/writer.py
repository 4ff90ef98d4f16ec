"""The writer: which way each ticket takes to the database.

- *warm*: decided on what is remembered, verified and written in one round trip;
- *looked up first*: the same, after its account has been read;
- *locked*: locked, loaded, decided, written. Always right, and the way for everything unusual.

A batch is everything that arrived while earlier ones were under way. All of it happens in the
event loop: the database works meanwhile, and nothing here waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from ledger_service.domain.world import Need
from ledger_service.engine.locked_lane import LockedLane
from ledger_service.engine.lookout import Lookout
from ledger_service.engine.memory import Memory
from ledger_service.engine.tally import Tally
from ledger_service.engine.telling import Teller
from ledger_service.engine.tickets import Inbox, Results, Ticket
from ledger_service.engine.warm import COMMANDS, Passed, WarmBatch
from ledger_service.engine.warm_lane import WarmLane
from ledger_service.store.vault import Vault
from ledger_service.store.writing import WritingConnection, connect

BATCH_MAX: Final = 256
BATCH_MIN: Final = 16
"""Fewer than these are not divided."""

_log = logging.getLogger(__name__)

Connect = Callable[[str], Awaitable[WritingConnection]]


class Writer:
    """For one event loop. `deliver` gets results, each ticket has one; `tally` counts batches."""

    def __init__(
        self,
        url: str,
        vault: Vault,
        deliver: Callable[[Results], None],
        tally: Tally,
        connect: Connect = connect,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        teller = Teller(deliver)
        self._inbox = Inbox()
        self._is_woken = False
        connected = partial(connect, url)
        self._memory = Memory(self._loop.time)
        self._lookout = Lookout(self._memory, vault, self._place_again)
        self._warm = WarmLane(self._memory, vault, connected, teller, tally, self._place_again)
        self._locked = LockedLane(self._memory, vault, connected, teller, tally, self._warm.landed)
        self._warm.open()

    def put(self, ticket: Ticket) -> None:
        """Bring it to its end."""
        self._inbox.put(ticket)
        self._wake()

    def stop(self) -> None:
        """Whatever is under way may end; nothing is looked into any longer."""
        self._locked.stop()

    def close(self) -> None:
        """End the connections."""
        self._warm.close()
        self._locked.close()

    def _place_again(self, tickets: list[Ticket]) -> None:
        self._inbox.put_back(tickets)
        self._wake()

    def _wake(self) -> None:
        """Look at the inbox once all that arrives in this turn of the loop is in it."""
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_woken = False
        while len(self._inbox) and self._warm.has_room:
            tickets = self._inbox.take(self._batch_size())
            connection = self._warm.connection
            if connection is None:
                for ticket in tickets:
                    self._locked.put(ticket)
                continue
            batch = self._warm.new_batch()
            for ticket in tickets:
                self._place(ticket, batch, connection)
            if not batch.is_empty:
                self._warm.send(batch)

    def _batch_size(self) -> int:
        """While nothing is under way, half of what waits: the database writes it while the other
        half is decided."""
        if self._warm.is_idle:
            return min(max(len(self._inbox) // 2, BATCH_MIN), BATCH_MAX)
        return BATCH_MAX

    def _place(self, ticket: Ticket, batch: WarmBatch, connection: WritingConnection) -> None:
        command, key_id = ticket.submission.command, ticket.key_id
        owner = command.owner
        if self._lookout.has(owner):
            self._lookout.wait(ticket, connection)  # after those who came before it
        elif (
            ticket.needs_locks
            or type(command) not in COMMANDS
            or self._locked.holds(owner)
            or (key_id is not None and self._memory.knows_key(key_id[2]))
        ):
            self._locked.put(ticket)
        elif (other := self._warm.batch_with(key_id)) is not None:
            other.behind.append(ticket)
        elif not self._memory.has(ticket):
            self._lookout.wait(ticket, connection)
        else:
            self._add(ticket, batch, connection)

    def _add(self, ticket: Ticket, batch: WarmBatch, connection: WritingConnection) -> None:
        try:
            passed = batch.add(ticket)
        except Exception:  # whatever is wrong with it shows again where it harms nobody else
            _log.exception("a command could not be decided from memory")
            passed = Passed.ON
        if isinstance(passed, Need):
            self._lookout.wait(ticket, connection, passed)
        elif passed is Passed.ON:
            ticket.needs_locks = True
            self._locked.put(ticket)
