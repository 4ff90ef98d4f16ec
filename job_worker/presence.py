"""Says every few seconds that this process is there, and hears what its peers have found."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Final

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.presence import PresenceRequest
from job_worker.breaker import Breaker
from job_worker.crew import Crew

log: Final = logging.getLogger(__name__)

PRESENCE_SECONDS: Final = 2.0
"""Also how late a peer hears of a pause; above the first one, which is told to nobody."""
JITTER_SECONDS: Final = 0.5
BACK_OFF_SECONDS: Final = 10.0
"""While the ledger does not answer, or is too old to know of presence."""


class Presence:
    """Says it every few seconds, and hears what the others have found."""

    def __init__(self, ledger: WorkClient, breakers: Mapping[str, Breaker], crew: Crew) -> None:
        self._ledger = ledger
        self._breakers = breakers
        self._crew = crew

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            seconds = PRESENCE_SECONDS
            try:
                await self.say()
            except LedgerUnavailable as error:
                log.debug("cannot say that we are here: %s", error.reason)  # the pull tells it
                seconds = BACK_OFF_SECONDS
            except LedgerRejected as error:
                log.error("the ledger does not want to know that we are here: %s", error.code)
                seconds = BACK_OFF_SECONDS
            except Exception:
                log.exception("could not say that we are here")
                seconds = BACK_OFF_SECONDS
            await asyncio.sleep(seconds + random.uniform(-JITTER_SECONDS, JITTER_SECONDS))

    async def say(self) -> None:
        """Once. Raises the client's errors."""
        told = PresenceRequest(
            worker=self._ledger.worker,
            carried=self._crew.carried,
            places=self._crew.places,
            providers=tuple(breaker.seen() for breaker in self._breakers.values()),
        )
        for pause in await self._ledger.say_present(told):
            if pause.name in self._breakers:
                self._breakers[pause.name].hear(pause)
