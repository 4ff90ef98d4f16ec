"""Pull: ask the ledger for due work every few seconds, whether or not the doorbell works.

With Valkey up this finds little, because the bell was faster. With Valkey down it is how all work
is found, a little later.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from contracts.client import LedgerRejected, LedgerUnavailable
from contracts.limits import CLAIMS_PER_REQUEST_MAX
from job_worker.carrying import Carrier, Held

log: Final = logging.getLogger(__name__)

PULL_SECONDS: Final = 2.0
PULL_JITTER_SECONDS: Final = 0.5
PULL_BACK_OFF_MAX_SECONDS: Final = 8.0
PULL_GATHER_SECONDS: Final = 0.05


class Puller:
    """Pulls while it runs, and carries at most `slots` pulled generations at once.

    `busy_elsewhere` counts the slots that the doorbell fills: a process that is busy with bells
    needs no pull, and would only take from them what they ring for.
    """

    def __init__(self, carrier: Carrier, *, slots: int, busy_elsewhere: Callable[[], int]) -> None:
        self._carrier = carrier
        self._slots = slots
        self._busy_elsewhere = busy_elsewhere
        self._carried: set[asyncio.Task[None]] = set()

    @property
    def carried(self) -> int:
        """Pulled generations under way."""
        return len(self._carried)

    async def run(self) -> None:
        """Pull until cancelled. What is carried by then goes on; see `drain`."""
        pause_seconds = PULL_SECONDS
        while True:
            # Jitter, so that the processes of a fleet do not all ask at the same moment.
            await asyncio.sleep(
                pause_seconds + random.uniform(-PULL_JITTER_SECONDS, PULL_JITTER_SECONDS)
            )
            try:
                while await self._pull():
                    await self._some_slots()
                pause_seconds = PULL_SECONDS
            except LedgerUnavailable as error:
                pause_seconds = min(2 * pause_seconds, PULL_BACK_OFF_MAX_SECONDS)
                log.warning("cannot pull: %s; again in %.0f s", error.reason, pause_seconds)
            except LedgerRejected as error:
                pause_seconds = PULL_BACK_OFF_MAX_SECONDS
                log.error("the ledger refuses our pull: %s", error.code)
            except Exception:
                # A bug here must not end the one way in that does not depend on Valkey.
                log.exception("the pull failed")

    async def drain(self, seconds: float) -> None:
        """Give what is carried this long to finish, then abandon it."""
        if self._carried:
            await asyncio.wait(self._carried, timeout=seconds)
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _pull(self) -> bool:
        """Claim what is due, up to the free slots; true when there may be more of it."""
        free = self._slots - len(self._carried) - self._busy_elsewhere()
        if free <= 0:
            return False
        most = min(free, CLAIMS_PER_REQUEST_MAX)
        found = await self._carrier.claim_due(most)
        for held in found:
            self._carry(held)
        return len(found) == most

    async def _some_slots(self) -> None:
        """Wait until slots are free, and a moment more, so that one claim asks for several."""
        if len(self._carried) >= self._slots:
            await asyncio.wait(set(self._carried), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(PULL_GATHER_SECONDS)

    def _carry(self, held: Held) -> None:
        task = asyncio.create_task(self._carrier.carry(held))
        self._carried.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._carried.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("carrying a pulled generation failed", exc_info=error)
