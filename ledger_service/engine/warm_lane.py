"""Warm batches on their way: a connection of their own, and up to two of them in flight.

While the database writes one batch the next is decided on what that one leaves. One that fails
takes those behind it along (`append_v2` sees to that), and none of them has written anything.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from ledger_service.engine.memory import Memory
from ledger_service.engine.tally import Tally
from ledger_service.engine.telling import Teller
from ledger_service.engine.tickets import KeyId, Ticket
from ledger_service.engine.warm import WarmBatch
from ledger_service.errors import LedgerError
from ledger_service.store.vault import Vault
from ledger_service.store.wanted import Verdict
from ledger_service.store.writing import ConnectionLost, WritingConnection

IN_FLIGHT_MAX: Final = 2
TRIES_MAX: Final = 3
"""Warm batches that a ticket may fail with before it gets its locks."""
DOUBT_SECONDS: Final = 1.0
"""How long nothing is decided from memory when others keep changing what is remembered."""
STALE_SHARE_MAX: Final = 0.3
RECONNECT_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[WritingConnection]]


class WarmLane:
    """`teller` gets results, `place` tickets that need another batch."""

    def __init__(
        self,
        memory: Memory,
        vault: Vault,
        connect: Connect,
        teller: Teller,
        tally: Tally,
        place: Callable[[list[Ticket]], None],
    ) -> None:
        self._memory = memory
        self._vault = vault
        self._connect = connect
        self._teller = teller
        self._tally = tally
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._connection: WritingConnection | None = None
        self._numbers = itertools.count(1)
        self._in_flight: deque[WarmBatch] = deque()
        self._has_failed = False
        self._stale_share = 0.0
        self._doubts_until = float("-inf")
        self._connects_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None

    @property
    def connection(self) -> WritingConnection | None:
        """Where batches go out now; None while they must take locks instead."""
        if self._connection is None or self._connection.is_lost:
            self.open()
            return None
        return None if self._loop.time() < self._doubts_until else self._connection

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent. After a failure those in flight fail as well, so
        nothing follows until the last one is back."""
        return len(self._in_flight) < IN_FLIGHT_MAX and not self._has_failed

    @property
    def is_idle(self) -> bool:
        """No batch is in flight."""
        return not self._in_flight

    def open(self) -> None:
        """Begin to connect, unless that is under way or has just failed, or batches on the old
        connection have not heard yet that it is lost."""
        is_due = self._connecting is None and self._loop.time() >= self._connects_at
        if is_due and not self._in_flight:
            self._connecting = self._start(self._open())

    def close(self) -> None:
        """End the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()

    def new_batch(self) -> WarmBatch:
        """A batch to be filled and sent."""
        after = self._in_flight[-1].number if self._in_flight else None
        return WarmBatch(self._memory, self._vault, next(self._numbers), after)

    def batch_with(self, key_id: KeyId | None) -> WarmBatch | None:
        """The batch in flight that has a command with this key."""
        for batch in self._in_flight:
            if batch.holds_key(key_id):
                return batch
        return None

    async def landed(self, owners: Iterable[str]) -> None:
        """Wait until no batch in flight has any of these accounts."""
        wanted = set(owners)
        for batch in tuple(self._in_flight):
            if not wanted.isdisjoint(batch.owners):
                await batch.landed.wait()

    def send(self, batch: WarmBatch) -> None:
        """Let it be written. What cannot even be sent gets its locks, and is judged there."""
        assert self._connection is not None
        batch.sent_at = self._loop.time()
        try:
            verdict = self._connection.append(batch.writes(), batch.relies_on())
        except Exception:
            _log.exception("a batch could not be sent")
            return self._give_up(batch)
        self._in_flight.append(batch)
        self._tally.begin(len(batch.tickets))
        self._start(self._follow(batch, verdict))
        return None

    async def _open(self) -> None:
        try:
            self._connection = await self._connect()
        except LedgerError:  # the lane with locks tells callers about it
            self._connects_at = self._loop.time() + RECONNECT_SECONDS
        finally:
            self._connecting = None

    async def _follow(self, batch: WarmBatch, sent: Awaitable[Verdict]) -> None:
        try:
            verdict = await sent
        except LedgerError as error:
            await self._land(batch, "lost")
            is_sent = isinstance(error, ConnectionLost) and error.commit_sent
            for ticket in batch.tickets:
                ticket.may_be_committed |= is_sent
            self._give_up(batch)
        except Exception:
            _log.exception("a batch failed for a reason that nobody foresaw")
            await self._land(batch, "failed")
            self._give_up(batch)
        else:
            await self._land(batch, verdict.outcome)
            self._judge(batch, verdict)

    async def _land(self, batch: WarmBatch, outcome: str) -> None:
        """Batches end in their order, whichever task hears first."""
        while self._in_flight[0] is not batch:
            await self._in_flight[0].landed.wait()
        self._in_flight.popleft()
        self._tally.end("warm", outcome)
        batch.landed.set()

    def _judge(self, batch: WarmBatch, verdict: Verdict) -> None:
        self._memory.clock.hear(verdict.now, batch.sent_at)
        if verdict.outcome == "appended":
            self._note(is_stale=False)
            self._teller.tell(batch.results(verdict.base), verdict.now)
            self._memory.tidy(batch.owners)
            self._place(batch.behind)
            return
        if verdict.outcome == "stale":
            self._note(is_stale=True)
        self._give_up(batch, may_be_warm=verdict.outcome in {"clock", "behind"})

    def _give_up(self, batch: WarmBatch, *, may_be_warm: bool = False) -> None:
        """Nothing of it was written: what it left in memory is not so."""
        self._memory.doubt(batch.owners)
        self._has_failed = bool(self._in_flight)
        for ticket in batch.tickets:
            ticket.warm_tries += 1
            ticket.needs_locks |= not may_be_warm or ticket.warm_tries >= TRIES_MAX
        self._place(batch.tickets + batch.behind)

    def _note(self, *, is_stale: bool) -> None:
        """When other processes write to the same accounts, memory is of no use."""
        self._stale_share += 0.1 * (is_stale - self._stale_share)
        if self._stale_share > STALE_SHARE_MAX:
            self._stale_share -= 0.1
            self._doubts_until = self._loop.time() + DOUBT_SECONDS

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
