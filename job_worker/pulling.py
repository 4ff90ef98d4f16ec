"""Pull: ask the ledger for due work every few seconds, whether or not the doorbell works.

With Valkey up this finds little, because the bell was faster. With Valkey down it is how all work
is found, a little later.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from contracts.client import LedgerRejected, LedgerUnavailable
from contracts.limits import CLAIMS_PER_REQUEST_MAX
from job_worker.carrying import Carrier, Held

log: Final = logging.getLogger(__name__)

PULL_SECONDS: Final = 2.0
PULL_JITTER_SECONDS: Final = 0.5
PULL_BACK_OFF_MAX_SECONDS: Final = 8.0


class Puller:
    """Pulls while it runs, and carries at most `slots` pulled generations at once."""

    def __init__(self, carrier: Carrier, slots: int) -> None:
        self._carrier = carrier
        self._slots = slots
        self._carried: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pull until cancelled. What is carried by then goes on; see `drain`."""
        pause_seconds = PULL_SECONDS
        while True:
            # Jitter, so that the processes of a fleet do not all ask at the same moment.
            await asyncio.sleep(
                pause_seconds + random.uniform(-PULL_JITTER_SECONDS, PULL_JITTER_SECONDS)
            )
            try:
                await self._pull_while_plenty()
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

    async def _pull_while_plenty(self) -> None:
        """One pull, and more of them at once while each comes back full."""
        while (most := min(self._slots - len(self._carried), CLAIMS_PER_REQUEST_MAX)) > 0:
            found = await self._carrier.claim_due(most)
            for held in found:
                self._carry(held)
            if len(found) < most:
                return

    def _carry(self, held: Held) -> None:
        task = asyncio.create_task(self._carrier.carry(held))
        self._carried.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._carried.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("carrying a pulled generation failed", exc_info=error)
