"""A worker process: the real carrier, puller and steps, over a network that loses things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.client.transport import CALL_TIMEOUT_SECONDS, TRIES_MAX
from contracts.jobs import Claim, ReportReply, ReportRequest
from job_worker.carrying import Carrier
from job_worker.crew import Crew
from job_worker.main import Steps
from job_worker.pulling import Puller
from ledger_service.errors import LedgerError, Rejected
from tests.simulation.desk import Desk
from tests.simulation.ledger import ConnectionBroken
from tests.simulation.provider import Provider, ScriptedFal, ScriptedMedia, heard

SLOTS: Final = 4
RESTART_SECONDS: Final = 2.0

Reply = TypeVar("Reply")


class LossyClient(WorkClient):
    """The worker's client. A request that has left arrives, whatever becomes of who sent it."""

    def __init__(
        self, desk: Desk, provider: Provider, worker: str, kill: Callable[[], None]
    ) -> None:
        self._kill = kill
        self._desk = desk
        self._loop = provider.loop
        self._faults = provider.faults
        self._chance = provider.chance
        self._worker = worker

    async def claim_due(self, most: int) -> tuple[Claim, ...]:
        """Never repeated."""
        if self._desk.is_idle():
            return ()  # most pulls: they need no network to find nothing
        return tuple(await self._once("claim", lambda: self._desk.claim_due(most, self._worker)))

    async def claim(self, generation_id: str) -> tuple[Claim, ...]:
        """Never repeated."""
        return tuple(
            await self._once("claim", lambda: self._desk.claim(generation_id, self._worker))
        )

    async def report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        """Repeated after a lost answer."""
        for _ in range(TRIES_MAX - 1):
            try:
                return await self._report(generation_id, report)
            except LedgerUnavailable:
                await asyncio.sleep(self._chance.uniform(0, 2))
        return await self._report(generation_id, report)

    async def _report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        return await self._once(
            "report", lambda: self._desk.report(generation_id, report, self._worker)
        )

    async def _once(self, kind: str, call: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
        strikes = self._faults.strikes
        if strikes("worker_killed"):
            self._loop.call_later(self._chance.uniform(0, 3), self._kill)
        if strikes(f"{kind}_lost"):
            await asyncio.sleep(CALL_TIMEOUT_SECONDS)
            raise LedgerUnavailable(kind, "timeout")
        is_late = kind == "report" and strikes("report_late")
        delay = self._chance.uniform(*((6.0, 40.0) if is_late else (0.001, 0.05)))
        arriving = self._loop.create_task(_arrive(delay, call))
        arriving.add_done_callback(heard)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                reply = await asyncio.shield(arriving)
        except TimeoutError:
            raise LedgerUnavailable(kind, "timeout") from None
        except ConnectionBroken:
            raise LedgerUnavailable(kind, "broken") from None
        except Rejected as error:
            raise LedgerRejected(kind, error.code, 409, error.fields) from None
        except LedgerError as error:
            raise LedgerUnavailable(kind, type(error).__name__) from None
        if kind == "report" and strikes("report_reply_lost"):
            raise LedgerUnavailable(kind, "broken")
        return reply


class ScriptedSteps(Steps):
    """The real steps at a scripted provider."""

    def __init__(self, provider: Provider) -> None:
        super().__init__({"fal": ScriptedFal(provider)}, ScriptedMedia(provider))


class Worker:
    """A process that can be killed between any two of its steps, and comes back."""

    def __init__(self, desk: Desk, provider: Provider) -> None:
        self._desk = desk
        self._provider = provider
        self._starts = 0
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._crew: _Crew | None = None

    def start(self) -> None:
        """Begin to pull, and to hear the bell."""
        self._starts += 1
        client = LossyClient(self._desk, self._provider, f"worker-{self._starts}", self.kill)
        steps = ScriptedSteps(self._provider)
        self._crew = _Crew(Carrier(client, steps), SLOTS)
        self._run(Puller(self._crew).run())

    def ring(self, generation_id: str) -> None:
        """A bell that reached the queue."""
        if self._crew is not None:
            self._run(self._crew.answer_bell(generation_id))

    def kill(self) -> None:
        """At once, wherever its steps stand."""
        if self._crew is None:
            return
        self._provider.trace.add("worker", self._starts, "was killed")
        abandoned = [*self._tasks, *self._crew.tasks]
        self._crew = None
        for task in abandoned:
            task.cancel()
        self._provider.loop.call_later(RESTART_SECONDS, self.start)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._provider.loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


class _Crew(Crew):
    """A crew whose troubles end the history, and whose tasks die with its process."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What it carries."""
        return list(self._carried)

    def _finished(self, task: asyncio.Task[None]) -> None:
        super()._finished(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _arrive(delay: float, call: Callable[[], Coroutine[Any, Any, Reply]]) -> Reply:
    await asyncio.sleep(delay)
    return await call()
