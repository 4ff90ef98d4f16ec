"""The places of one process: how many generations it carries at once, rung for or pulled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from contracts.limits import CLAIMS_PER_REQUEST_MAX
from job_worker.carrying import Carrier

log: Final = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.25
"""How long a bell waits at most before it looks again for a place that a pull did not need."""


class Crew:
    """Carries up to `places` generations at once, each until it waits for something.

    Nobody waits for a generation's end here. One that is abandoned, by `drain` or by the death of
    the process, is claimed by another worker when its lease has run out.
    """

    def __init__(self, carrier: Carrier, places: int) -> None:
        self._carrier = carrier
        self.places = places
        self._carried: dict[asyncio.Task[None], str] = {}
        self._asked_for = 0
        self._is_draining = False

    @property
    def carried(self) -> int:
        """Generations under way."""
        return len(self._carried)

    @property
    def free(self) -> int:
        """Places that nobody has, and that no pull is just asking work for."""
        return max(0, self.places - len(self._carried) - self._asked_for)

    async def some_free(self) -> None:
        """Wait for a free place."""
        while not self.free:
            if self._carried:
                await asyncio.wait(
                    self._carried, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
            else:
                await asyncio.sleep(LOOK_SECONDS)

    async def answer_bell(self, generation_id: str) -> None:
        """Carry the generation that was rung for; waits only until there is a place for it."""
        await self.some_free()
        if self._is_draining:
            log.info("%s is left to another worker", generation_id)
        # One that is carried is claimed; a bell would find that out, at the cost of a call.
        elif generation_id not in self._carried.values():
            self._carry(generation_id, self._carrier.answer_bell(generation_id))

    async def claim_due(self) -> bool:
        """Claim what is due for the free places, and carry it; true when there may be more of it.

        Raises the client's errors.
        """
        most = min(self.free, CLAIMS_PER_REQUEST_MAX)
        if not most:
            return False
        self._asked_for += most
        try:
            found = await self._carrier.claim_due(most)
        finally:
            self._asked_for -= most
        for held in found:
            self._carry(held.claim.generation_id, self._carrier.carry(held))
        return len(found) == most

    async def drain(self, seconds: float) -> None:
        """Take nothing more; give what is carried this long to finish, then abandon it."""
        self._is_draining = True
        if self._carried:
            await asyncio.wait(self._carried, timeout=seconds)
        abandoned = list(self._carried)
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)

    def _carry(self, generation_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._carried[task] = generation_id
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        generation_id = self._carried.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("carrying %s failed", generation_id, exc_info=error)
