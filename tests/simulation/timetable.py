"""The clockwork's own timetable, woken when something is due instead of four times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from ledger_service.clockwork import Clockwork
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Done, Submission
from ledger_service.errors import OutcomeUnknown
from ledger_service.generations.doorbell import Doorbell
from ledger_service.media.library import MediaLibrary
from ledger_service.signing import Signer
from tests.simulation.clock import BEGINNING
from tests.simulation.ledger import ConnectionBroken, Ledger
from tests.simulation.tables import Tables

NO_LIBRARY: Final = MediaLibrary("", Signer(b"unused"))
GRACE: Final = timedelta(seconds=60)
TICK_SECONDS: Final = 0.5
TICK_MAX_SECONDS: Final = 64.0
"""For what a tick does not bring to its end: no virtual day must cost 100,000 of them."""


class Bell(Doorbell):
    """The doorbell: `hear` is called for each ring that gets through."""

    def __init__(self, ledger: Ledger, hear: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._hear = hear

    def ring(self, generation_id: str) -> None:
        """It may be lost, and it may come twice."""
        if self._ledger.faults.strikes("ring_lost"):
            return
        for _ in range(2 if self._ledger.faults.strikes("ring_twice") else 1):
            delay = self._ledger.chance.uniform(0.001, 0.3)
            self._ledger.loop.call_later(delay, self._hear, generation_id)

    def backlog(self) -> int:
        """Nothing waits."""
        return 0


class AnyProcess(Engine):
    """Commands of the clockwork go to a ledger process that lives."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def submit(self, submission: Submission) -> Done:
        """Its writer dies with it."""
        try:
            return await self._ledger.pick().submit(submission)
        except ConnectionBroken:
            raise OutcomeUnknown from None


class Cursor:
    """Rows of an answer."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    async def fetchall(self) -> list[Any]:
        """All of them."""
        return self._rows

    async def fetchone(self) -> Any:
        """The first, if any."""
        return self._rows[0] if self._rows else None


class AsyncTables:
    """Tables, as the clockwork's connection."""

    closed = False

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def execute(self, sql: str, values: tuple[Any, ...]) -> Cursor:
        """One named statement."""
        return Cursor(self._tables.execute(sql, values))


class Timetable:
    """Drives the works of a real clockwork."""

    def __init__(self, ledger: Ledger, bell: Bell) -> None:
        self._ledger = ledger
        self._clockwork = Clockwork("", AnyProcess(ledger), bell, NO_LIBRARY, GRACE)
        self._connection: Any = AsyncTables(ledger.tables)
        self._timer: asyncio.TimerHandle | None = None
        self._is_working = False
        self._pause_seconds = TICK_SECONDS
        self._was_due_at: datetime | None = None

    def look(self) -> None:
        """Something changed: be there when the next thing is due."""
        due_at = self._ledger.tables.next_due_at()
        if due_at is None or self._is_working:
            return
        due = (due_at - BEGINNING).total_seconds()
        soonest = self._ledger.loop.time() + self._ledger.chance.uniform(0, TICK_SECONDS)
        when = max(due + TICK_SECONDS / 2, soonest)
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._ledger.loop.call_at(when, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._is_working = True
        self._ledger.loop.create_task(self._work()).add_done_callback(self._done)

    async def _work(self) -> None:
        await self._clockwork._lead(self._connection)
        clockwork = self._clockwork
        # All that writes; projections are read and made elsewhere.
        for work in (
            clockwork._ring_due_jobs,
            clockwork._book_expiries,
            clockwork._expire_holds,
            clockwork._end_overdue_jobs,
        ):
            if clockwork._epoch is not None:
                await clockwork._do(work, self._connection)

    def _done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            raise error
        due_at = self._ledger.tables.next_due_at()
        is_stuck = due_at is not None and due_at == self._was_due_at
        longer = min(2 * self._pause_seconds, TICK_MAX_SECONDS)
        self._pause_seconds = longer if is_stuck else TICK_SECONDS
        self._was_due_at = due_at
        self._ledger.loop.call_later(self._pause_seconds, self._rested)

    def _rested(self) -> None:
        self._is_working = False
        self.look()
