"""Calls of the ledger that are shared: what is asked for while calls are under way goes out
together with the next one.

A call costs both sides more than what it carries, by far. An idle worker gains nothing by this
and loses nothing; a busy one makes a call for many steps.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from contracts.client import WorkClient
from contracts.jobs import Claim, ReportReply, ReportRequest, StepReport
from contracts.limits import CLAIMS_PER_REQUEST_MAX, REPORTS_PER_REQUEST_MAX

Wish = TypeVar("Wish")
Answer = TypeVar("Answer")

CALLS_MAX: Final = 2
"""Calls of one kind under way at once. With one alone, everybody would wait for the slowest."""
SLOW_CALL_SECONDS: Final = 0.1
"""How long a call may take before what waits for its end goes out beside it."""


class Desk(Protocol):
    """Where claims are asked for and reports are handed in; all raise the client's errors."""

    async def claim(self, generation_id: str) -> tuple[Claim, ...]:
        """The next step of one generation, if it is due."""
        ...

    async def claim_due(self, most: int) -> tuple[Claim, ...]:
        """Up to `most` steps of whatever is due."""
        ...

    async def report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        """What happened to a step."""
        ...


class Shared(Generic[Wish, Answer]):
    """Sends wishes in calls of up to `most`: one after the other, and beside a slow one another.

    `send` returns an answer or an error for each wish, in their order; what it raises, each of
    its wishes gets.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Wish]], Awaitable[Sequence[Answer | BaseException]]],
        most: int,
    ) -> None:
        self._send = send
        self._most = most
        self._waiting: deque[tuple[Wish, asyncio.Future[Answer]]] = deque()
        self._calls = 0
        self._is_relief_near = False
        self._tasks: set[asyncio.Task[None]] = set()
        """Held on to, or the loop would forget them."""

    async def __call__(self, wish: Wish) -> Answer:
        """The answer to this wish. Who stops waiting before it has left takes it back."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, answer))
        if self._calls == 0:
            self._begin()
        elif self._calls < CALLS_MAX and not self._is_relief_near:
            self._is_relief_near = True
            asyncio.get_running_loop().call_later(SLOW_CALL_SECONDS, self._relieve)
        return await answer

    def _relieve(self) -> None:
        """Begin another call, if what was under way is still so and somebody waits for it."""
        self._is_relief_near = False
        if self._waiting and self._calls < CALLS_MAX:
            self._begin()

    def _begin(self) -> None:
        self._calls += 1
        task = asyncio.create_task(self._call_while_wanted())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call_while_wanted(self) -> None:
        try:
            while taken := self._take():
                await self._call(taken)
        finally:
            # In the same turn of the loop that saw nobody waiting: whoever comes next must not
            # take this call for one that is still under way.
            self._calls -= 1

    def _take(self) -> list[tuple[Wish, asyncio.Future[Answer]]]:
        """What goes into one call; nothing when nobody waits."""
        taken: list[tuple[Wish, asyncio.Future[Answer]]] = []
        while self._waiting and len(taken) < self._most:
            wish, answer = self._waiting.popleft()
            if not answer.done():
                taken.append((wish, answer))
        return taken

    async def _call(self, taken: Sequence[tuple[Wish, asyncio.Future[Answer]]]) -> None:
        answers: Sequence[Answer | BaseException]
        try:
            answers = await self._send([wish for wish, _ in taken])
        except Exception as error:
            answers = [error] * len(taken)
        for (_, waiting), answer in zip(taken, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, BaseException):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)


class SharedDesk:
    """The ledger's desk, at which a process asks for all its steps together."""

    def __init__(self, client: WorkClient) -> None:
        self._client = client
        self._claim: Shared[str, tuple[Claim, ...]] = Shared(
            self._claim_each, CLAIMS_PER_REQUEST_MAX
        )
        self._report: Shared[StepReport, ReportReply] = Shared(
            client.report_each, REPORTS_PER_REQUEST_MAX
        )

    async def claim(self, generation_id: str) -> tuple[Claim, ...]:
        """The next step of one generation; empty when it is not due."""
        return await self._claim(generation_id)

    async def claim_due(self, most: int) -> tuple[Claim, ...]:
        """Up to `most` steps of whatever is due."""
        return await self._client.claim_due(most)

    async def report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        """What happened to a step; `LedgerRejected` `stale_fence` when the claim is not ours."""
        return await self._report(
            StepReport(
                generation_id=generation_id,
                fence=report.fence,
                attempt_id=report.attempt_id,
                event=report.event,
            )
        )

    async def _claim_each(self, generation_ids: Sequence[str]) -> list[tuple[Claim, ...]]:
        claims = {it.generation_id: it for it in await self._client.claim_each(generation_ids)}
        # Who rang twice gets one claim: a second one would be a second submit.
        found = [claims.pop(generation_id, None) for generation_id in generation_ids]
        return [() if claim is None else (claim,) for claim in found]
