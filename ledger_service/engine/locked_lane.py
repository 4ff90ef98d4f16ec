"""Locked batches, one after the other. When a commit's answer is lost the lane reconnects and
decides the batch again: what had been committed is found by its keys, so nothing happens twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ledger_service.domain.commands import streams
from ledger_service.engine.locked import LockedBatch
from ledger_service.engine.memory import Memory
from ledger_service.engine.tally import Tally
from ledger_service.engine.telling import Teller
from ledger_service.engine.tickets import Inbox, Results, Stage, Ticket
from ledger_service.errors import (
    Contention,
    LedgerError,
    OutcomeUnknown,
    Unavailable,
    UnknownSnapshot,
)
from ledger_service.store.vault import Vault
from ledger_service.store.writing import ConnectionLost, DatabaseUnfit, WritingConnection

BATCH_MAX: Final = 256
CONTENTION_TRIES_MAX: Final = 20
RECONNECT_SECONDS_MAX: Final = 1.0

_log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[WritingConnection]]


class LockedLane:
    """`teller` gets results; `landed` waits until no batch of another way has these streams.

    What its batches leave is remembered.
    """

    def __init__(
        self,
        memory: Memory,
        vault: Vault,
        connect: Connect,
        teller: Teller,
        tally: Tally,
        landed: Callable[[Iterable[str]], Awaitable[None]],
    ) -> None:
        self._memory = memory
        self._vault = vault
        self._connect = connect
        self._teller = teller
        self._tally = tally
        self._landed = landed
        self._queue = Inbox()
        self._held: set[str] = set()
        self._connection: WritingConnection | None = None
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def put(self, ticket: Ticket) -> None:
        """Have it settled under locks."""
        self._held |= _streams_of((ticket,))
        self._queue.put(ticket)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def holds(self, stream: str) -> bool:
        """Whether a ticket with this stream waits here or is being settled: whoever comes later
        must come after it."""
        return stream in self._held

    def stop(self) -> None:
        """What may have been committed is not looked into any longer."""
        self._is_stopping = True

    def close(self) -> None:
        """End the connection."""
        self._drop_connection()

    async def _run(self) -> None:
        while tickets := self._queue.take(BATCH_MAX):
            held = _streams_of(tickets)
            await self._landed(held)
            self._memory.forget(held)
            taken = [ticket for ticket in tickets if ticket.stage is not Stage.WITHDRAWN]
            for ticket in taken:
                ticket.stage = Stage.TAKEN
            try:
                await self.settle(taken)
            except Exception as error:
                _log.exception("a batch failed for a reason that nobody foresaw")
                self._drop_connection()
                self._fail(taken, error)
            self._held = _streams_of(self._queue)
        self._task = None

    async def settle(self, tickets: list[Ticket]) -> None:
        """Bring one batch to its end, over contention and lost connections."""
        tries = 0
        while tickets:
            try:
                batch, results = await self._try(tickets)
            except Contention:
                await self._roll_back()
                tries += 1
                if tries >= CONTENTION_TRIES_MAX:
                    return self._fail(tickets, Unavailable("too much contention"))
                await asyncio.sleep(random.uniform(0, 0.005 * 2 ** min(tries, 6)))
            except ConnectionLost as error:
                self._drop_connection()
                tries += 1
                for ticket in tickets:
                    if not ticket.submission.is_dry_run:
                        ticket.may_be_committed |= error.commit_sent
                if self._gives_up(tickets, tries):
                    return self._fail(tickets, error)
                await asyncio.sleep(min(0.02 * 2 ** min(tries, 6), RECONNECT_SECONDS_MAX))
            except DatabaseUnfit as error:
                _log.error("the database takes no writes: %s", error)
                self._drop_connection()  # the next one may lead to a better server
                return self._fail(tickets, error)
            except Exception as error:
                await self._roll_back()
                return await self._split(tickets, error)
            else:
                for owner, head in batch.heads.items():
                    self._memory.keep_head(owner, head)
                self._queue.put_back(batch.deferred)
                self._teller.tell(results, batch.said)
                return None

    async def _try(self, tickets: list[Ticket]) -> tuple[LockedBatch, Results]:
        batch = LockedBatch(tickets, await self._connected(), self._vault)
        self._tally.begin(len(tickets))
        outcome = "failed"
        try:
            results = await batch.run()
            outcome = "appended"
        except Contention:
            outcome = "contention"
            raise
        except ConnectionLost:
            outcome = "lost"
            raise
        finally:
            self._tally.end("locked", outcome)
        return batch, results

    def _gives_up(self, tickets: list[Ticket], tries: int) -> bool:
        """What was certainly not committed fails soon; what may have been is looked into until
        the database answers again."""
        if any(ticket.may_be_committed for ticket in tickets):
            return self._is_stopping
        return tries > 1

    async def _split(self, tickets: list[Ticket], error: Exception) -> None:
        """One command is too much for the database or for us: find it, and settle the others.

        Its account may be unreadable, say, while newer code is being rolled out.
        """
        if len(tickets) == 1:
            kind = type(tickets[0].submission.command).__name__
            if isinstance(error, UnknownSnapshot):
                _log.warning("%s: its account was written by newer code: %s", kind, error)
            else:
                _log.error("%s failed for a reason that nobody foresaw", kind, exc_info=error)
            return self._fail(tickets, error)
        half = len(tickets) // 2
        await self.settle(tickets[:half])
        await self.settle(tickets[half:])
        return None

    def _fail(self, tickets: list[Ticket], error: Exception) -> None:
        results: Results = []
        for ticket in tickets:
            if ticket.may_be_committed:
                results.append((ticket, OutcomeUnknown()))
            elif isinstance(error, LedgerError):
                results.append((ticket, error))
            else:
                results.append((ticket, LedgerError("internal")))
        self._teller.fail(results)

    async def _connected(self) -> WritingConnection:
        if self._connection is None:
            self._connection = await self._connect()
        return self._connection

    async def _roll_back(self) -> None:
        if self._connection is not None:
            await self._connection.rollback()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _streams_of(tickets: Iterable[Ticket]) -> set[str]:
    found: set[str] = set()
    for ticket in tickets:
        found |= streams(ticket.submission.command) | ticket.extra_streams
    return found
