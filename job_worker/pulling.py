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
from job_worker.crew import Crew

log: Final = logging.getLogger(__name__)

PULL_SECONDS: Final = 2.0
PULL_JITTER_SECONDS: Final = 0.5
PULL_BACK_OFF_MAX_SECONDS: Final = 8.0
PULL_GATHER_SECONDS: Final = 0.05


class Puller:
    """Pulls while it runs, as much as the crew has places for."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    async def run(self) -> None:
        """Pull until cancelled."""
        pause_seconds = PULL_SECONDS
        while True:
            # Jitter, so that the processes of a fleet do not all ask at the same moment.
            await asyncio.sleep(
                pause_seconds + random.uniform(-PULL_JITTER_SECONDS, PULL_JITTER_SECONDS)
            )
            try:
                while await self._crew.claim_due():
                    await self._crew.some_free()
                    # A moment more, so that one claim asks for several.
                    await asyncio.sleep(PULL_GATHER_SECONDS)
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
