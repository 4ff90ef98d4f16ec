"""The clockwork: one leader that makes due things happen. The work itself lives elsewhere.

Several may run; the database's clock and an epoch decide who leads. What it does is harmless to
do twice: rings are hints, and every command it submits checks the state again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from contracts.limits import LEFTOVERS_AFTER_SECONDS
from ledger_service.api.failure_texts import KEYS
from ledger_service.domain.commands import BookExpiry, Command, EndOverdue, ExpireHold
from ledger_service.domain.generation.state import LOW_WAITS_MAX
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Submission
from ledger_service.errors import LedgerError
from ledger_service.generations.doorbell import BACKLOG_MAX, Doorbell
from ledger_service.generations.endings import EndingCount
from ledger_service.generations.forgetting import note_forgettings
from ledger_service.media.caretaker import Caretaker
from ledger_service.media.library import MediaLibrary
from ledger_service.media.removal import MediaRemoval
from ledger_service.projections.feeder import Feeder
from ledger_service.store.link import connect
from ledger_service.store.statements import load_statements

ROLE: Final = "clockwork"
ACTOR: Final = "system:clockwork"
LEASE_SECONDS: Final = 5
TICK_SECONDS: Final = 0.25
RINGS_PER_TICK: Final = 500
COMMANDS_PER_TICK: Final = 200
HOLDS_PER_TICK: Final = 2_000
LEFTOVERS_AFTER: Final = timedelta(seconds=LEFTOVERS_AFTER_SECONDS)
_RETRY_SECONDS: Final = 1.0

Connection = psycopg.AsyncConnection[Any]
Work = Callable[[Connection], Coroutine[Any, Any, None]]

_SQL: Final = load_statements("clockwork")
_log = logging.getLogger(__name__)


class Clockwork:
    """Leads when it can, and then keeps the timetable until it is told to stop."""

    def __init__(
        self,
        database_url: str,
        engine: Engine,
        doorbell: Doorbell,
        library: MediaLibrary,
        grace: timedelta,
        leftovers_after: timedelta = LEFTOVERS_AFTER,
    ) -> None:
        self._database_url = database_url
        self._engine = engine
        self._doorbell = doorbell
        self._grace = grace
        self._holder = secrets.token_hex(8)
        self._epoch: int | None = None
        self._projections = Feeder(database_url)
        removal = MediaRemoval(library, self._submit, leftovers_after)
        self._caretaker = Caretaker(database_url, removal)
        self._timetable: list[tuple[float, Work]] = [
            (0.25, self._ring_due_jobs),
            (0.5, self._book_expiries),
            (0.5, self._expire_holds),
            (1.0, self._end_overdue_jobs),
            (0.25, self._feed_projections),
            (1.0, self._care_for_storage),
            (1.0, note_forgettings),
            (1.0, EndingCount(frozenset(KEYS)).turn),
            (60.0, self._forget),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until `stop` is set, over any trouble with the database."""
        while not stop.is_set():
            try:
                await self._run_connected(stop)
            except (psycopg.Error, TimeoutError) as error:
                self._epoch = None
                _log.warning("the database does not answer: %s", type(error).__name__)
                await _sleep(stop, _RETRY_SECONDS)
        await self._projections.stop()
        await self._caretaker.stop()

    async def _run_connected(self, stop: asyncio.Event) -> None:
        async with await connect(self._database_url) as connection:
            await self._keep_time(connection, stop)
            await self._step_down(connection)

    async def _keep_time(self, connection: Connection, stop: asyncio.Event) -> None:
        due = {work: 0.0 for _, work in self._timetable}
        renew_at = 0.0
        while not stop.is_set():
            if time.monotonic() >= renew_at:
                await self._lead(connection)
                renew_at = time.monotonic() + LEASE_SECONDS / 4
            for interval_seconds, work in self._timetable:
                if self._epoch is not None and time.monotonic() >= due[work]:
                    due[work] = time.monotonic() + interval_seconds
                    await self._do(work, connection)
            await _sleep(stop, TICK_SECONDS)

    async def _do(self, work: Work, connection: Connection) -> None:
        """One turn; what the database refuses it must not keep the others from theirs."""
        try:
            await work(connection)
        except psycopg.Error as error:
            if connection.closed:
                raise
            _log.warning("%s: %s", work.__name__, type(error).__name__)

    async def _lead(self, connection: Connection) -> None:
        lease = timedelta(seconds=LEASE_SECONDS)
        cursor = await connection.execute(_SQL["lead"], (ROLE, self._holder, lease))
        row = await cursor.fetchone()
        epoch = row[0] if row else None
        if epoch is not None and self._epoch is None:
            _log.info("leads, epoch %d", epoch)
        self._epoch = epoch

    async def _step_down(self, connection: Connection) -> None:
        """Let the next leader begin at once."""
        if self._epoch is not None:
            await connection.execute(_SQL["step_down"], (ROLE, self._holder, self._epoch))

    async def _ring_due_jobs(self, connection: Connection) -> None:
        if await asyncio.to_thread(self._doorbell.backlog) >= BACKLOG_MAX:
            return
        values = (ROLE, self._epoch, RINGS_PER_TICK, LOW_WAITS_MAX)
        cursor = await connection.execute(_SQL["ring_due"], values)
        for (generation_id,) in await cursor.fetchall():
            self._doorbell.ring(generation_id)

    async def _book_expiries(self, connection: Connection) -> None:
        cursor = await connection.execute(_SQL["expiring"], (COMMANDS_PER_TICK,))
        await self._submit([BookExpiry(owner=owner) for (owner,) in await cursor.fetchall()])

    async def _expire_holds(self, connection: Connection) -> None:
        cursor = await connection.execute(_SQL["expiring_holds"], (HOLDS_PER_TICK,))
        await self._submit(
            [ExpireHold(owner=owner, hold_id=hold_id) for owner, hold_id in await cursor.fetchall()]
        )

    async def _end_overdue_jobs(self, connection: Connection) -> None:
        cursor = await connection.execute(_SQL["overdue"], (COMMANDS_PER_TICK,))
        await self._submit(
            [
                EndOverdue(owner=owner, generation_id=generation_id, grace=self._grace)
                for owner, generation_id in await cursor.fetchall()
            ]
        )

    async def _forget(self, connection: Connection) -> None:
        """Progress of generations that nobody has looked at for long: they have ended. Words that
        came after an end; workers that are gone; and how many were begun on days that are over."""
        for name in ("forget_progress", "forget_verdicts", "forget_presence", "forget_days"):
            await connection.execute(_SQL[name])

    async def _feed_projections(self, _: Connection) -> None:
        """It has a connection and a thread of its own: nobody here waits for it."""
        self._projections.feed()

    async def _care_for_storage(self, _: Connection) -> None:
        """Likewise: a storage may be far away."""
        self._caretaker.begin()

    async def _submit(self, commands: Sequence[Command]) -> bool:
        """Whether all went through; what fails now is found due again at the next tick."""
        outcomes = await asyncio.gather(
            *[self._engine.submit(_submission(command)) for command in commands],
            return_exceptions=True,
        )
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, LedgerError):
                _log.warning("%s: %s", type(command).__name__, type(outcome).__name__)
            elif isinstance(outcome, BaseException):
                raise outcome
        return not any(isinstance(outcome, LedgerError) for outcome in outcomes)


def _submission(command: Command) -> Submission:
    return Submission(
        command=command,
        actor=ACTOR,
        trace_id=secrets.token_hex(16),
        occurred_at=datetime.now(UTC),
    )


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake at once when told to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
