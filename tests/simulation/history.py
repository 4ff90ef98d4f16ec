"""One history: a seed, everything that follows from it, and the judges' verdict."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, Final

import msgspec

from ledger_service.errors import LedgerError
from tests.simulation.asking import Asking
from tests.simulation.clients import Clients
from tests.simulation.clock import Clock, VirtualLoop, virtual_time
from tests.simulation.desk import Desk
from tests.simulation.faults import Faults
from tests.simulation.judges import Judges
from tests.simulation.ledger import BugCatcher, Ledger
from tests.simulation.provider import Provider
from tests.simulation.tables import Tables
from tests.simulation.timetable import Bell, Timetable
from tests.simulation.trace import Trace, Violation
from tests.simulation.worker import Worker

COMMANDS: Final = (15, 45)
"""Commands of all clients of a history: at least, at most."""
CLIENTS: Final = 3
CROWD: Final = 8
QUIET_SECONDS_MAX: Final = 3 * 3600.0
"""After it, whatever has not come to its end never will."""
CROWDED: Final = (0.001, 0.001, 0.02)
"""Pauses of clients that share batches, in seconds; then those of lives and of whole months."""
SECONDS: Final = (0.01, 0.5, 2.0, 8.0)
DAYS: Final = (0.01, 1.0, 30.0, 700.0, 20_000.0, 100_000.0)

TablesMaker = Callable[[Callable[[], datetime]], Tables]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A history that went well."""

    seed: int
    digest: str
    steps: int
    commands: int
    events: int
    generations: Counter[str]
    fired: Counter[str]
    virtual_seconds: float


class Failed(Exception):
    """A history that did not: `judge` says who objected."""

    def __init__(self, seed: int, error: BaseException, trace: Trace) -> None:
        super().__init__(
            f"seed {seed}, step {trace.steps}: {error!r}\n{trace.tail()}\n"
            f"  once more: make simulate SEED={seed}"
        )
        self.seed = seed
        self.judge = error.judge if isinstance(error, Violation) else "bugs"


class History:
    """A world of its own in virtual time. `make_tables` and `make_provider` are where tests plant
    bugs."""

    def __init__(
        self,
        seed: int,
        *,
        make_tables: TablesMaker = Tables,
        make_provider: Callable[..., Provider] = Provider,
        has_generations: bool | None = None,
    ) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.loop = VirtualLoop()
        self.ledger_clock, self.worker_clock = Clock(self.loop), Clock(self.loop)
        self.worker_clock.ahead_seconds = self.chance.choice((0, 0, -1.5, 1.5))
        if has_generations is None:
            has_generations = self.chance.random() < 0.6
        self.has_generations = has_generations
        self.trace = Trace(self.ledger_clock.now)
        self.faults = Faults(self.chance)
        self.tables = make_tables(self.ledger_clock.now)
        self.bugs = BugCatcher()
        self.judges = Judges(self.tables, self.trace, self.bugs)
        self.ledger = Ledger(
            self.loop, self.ledger_clock, self.tables, self.faults, self.chance, self.trace
        )
        self.desk = Desk(self.ledger)
        self.provider = make_provider(
            self.loop, self.faults, self.chance, self.trace, self._webhook
        )
        self.worker = Worker(self.desk, self.provider)
        self.provider.kill_sender = self.worker.kill
        self.bell = Bell(self.ledger, self.worker.ring)
        self.timetable = Timetable(self.ledger, self.bell)
        self.asking = Asking(self.chance, self.ledger_clock, has_generations=has_generations)
        self.clients = Clients(self.ledger, self.asking, self.bell, self.chance)
        self._failure: asyncio.Future[None] = self.loop.create_future()
        self._connect()

    def run(self) -> Summary:
        """Play it. Raises `Failed`."""
        logger = logging.getLogger("ledger_service")
        logger.addHandler(self.bugs)
        try:
            with virtual_time(self.worker_clock, self.ledger_clock, self.chance):
                try:
                    self.loop.run_until_complete(self._race())
                finally:
                    self._stop()
        except Exception as error:
            raise Failed(self.seed, error, self.trace) from error
        finally:
            logger.removeHandler(self.bugs)
            self.loop.close()
        return self._summary()

    def _connect(self) -> None:
        self.ledger.on_commit += [self.judges.after_commit, self.timetable.look]
        self.ledger.on_result.append(self.judges.at_result)
        self.ledger.on_violation = self._fail
        self.loop.set_exception_handler(lambda _, context: self._unforeseen(context))

    async def _race(self) -> None:
        """The story, unless a judge ends it."""
        story = self.loop.create_task(self._story())
        await asyncio.wait({story, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            story.cancel()
            self._failure.result()
        story.result()

    async def _story(self) -> None:
        if self.has_generations:
            self.worker.start()
        await self.clients.open_accounts()
        pauses: tuple[float, ...] = SECONDS if self.has_generations else DAYS
        clients = CLIENTS
        if self.chance.random() < 0.3:
            pauses, clients = CROWDED, CROWD
        most = self.chance.randint(*COMMANDS) // clients + 1
        await asyncio.gather(*[self.clients.live(most, pauses) for _ in range(clients)])
        self.faults.is_healed = True
        self.trace.add("everything is healed")
        await asyncio.sleep(60.0)  # what is late arrives
        await self.clients.ask_again()
        await self._quiet()
        accepted = self.provider.accepted
        self.judges.at_end(dict(self.provider.submits), dict(accepted))

    async def _quiet(self) -> None:
        """Until nothing is under way any more."""
        until = self.loop.time() + QUIET_SECONDS_MAX
        while self.loop.time() < until:
            await asyncio.sleep(2.0)
            is_open = any(row.job.due_at is not None for row in self.tables.jobs.values())
            if not is_open and not self._is_something_due():
                return

    def _is_something_due(self) -> bool:
        due_at = self.tables.next_due_at()
        return due_at is not None and due_at <= self.tables.now()

    def _webhook(self, url: str, request_id: str) -> None:
        self.loop.create_task(self._call_back(url, request_id))

    async def _call_back(self, url: str, request_id: str) -> None:
        """fal tries again a few times."""
        for _ in range(3):
            try:
                generation_id = await self.desk.note_webhook(url, request_id)
            except (LedgerError, ConnectionError):
                await asyncio.sleep(15.0)
            else:
                self.bell.ring(generation_id)
                return

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def _unforeseen(self, context: dict[str, Any]) -> None:
        self._fail(context.get("exception") or RuntimeError(context["message"]))

    def _stop(self) -> None:
        """What still waits is abandoned."""
        self.loop.set_exception_handler(lambda *_: None)
        while left := asyncio.all_tasks(self.loop):
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(left))

    def _summary(self) -> Summary:
        statuses = Counter(str(row.job.status) for row in self.tables.jobs.values())
        return Summary(
            seed=self.seed,
            digest=self.trace.digest,
            steps=self.trace.steps,
            commands=self.ledger.results,
            events=len(self.tables.events),
            generations=statuses,
            fired=self.faults.fired,
            virtual_seconds=self.loop.time(),
        )
