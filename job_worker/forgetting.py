"""Asks the ledger, now and then, what providers are to forget, and has them do it.

Beside all other work, and never in its way: nothing here is urgent, and no credits depend on it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from contracts.client import LedgerRejected, LedgerUnavailable, WorkClient
from contracts.forgetting import Forgetting, ForgettingOutcome, ForgettingReport

log: Final = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
LOOK_JITTER_SECONDS: Final = 0.5
LOOK_AFTER_TROUBLE_SECONDS: Final = 60.0
CLAIMED_MAX: Final = 10
"""Generations at once, one after the other: a provider limits what it deletes in a minute."""

Perform = Callable[[Forgetting], Awaitable[ForgettingReport]]


class Forgetter:
    """Forgets while it runs; what it is cancelled in the middle of is handed out again."""

    def __init__(self, ledger: WorkClient, perform: Perform) -> None:
        self._ledger = ledger
        self._perform = perform

    async def run(self) -> None:
        """Look until cancelled."""
        pause_seconds = LOOK_SECONDS
        while True:
            await asyncio.sleep(
                pause_seconds + random.uniform(-LOOK_JITTER_SECONDS, LOOK_JITTER_SECONDS)
            )
            try:
                while await self.look() == CLAIMED_MAX:
                    pass
                pause_seconds = LOOK_SECONDS
            except (LedgerRejected, LedgerUnavailable) as error:
                pause_seconds = LOOK_AFTER_TROUBLE_SECONDS
                log.warning("cannot ask what to forget: %s", error)
            except Exception:
                # A bug here must not end it for good: nobody would notice.
                pause_seconds = LOOK_AFTER_TROUBLE_SECONDS
                log.exception("a look at what to forget failed")

    async def look(self) -> int:
        """Do what is due; returns how much that was. Raises the client's errors."""
        found = await self._ledger.claim_forgettings(CLAIMED_MAX)
        for forgetting in found:
            report = await self._perform(forgetting)
            level = logging.INFO
            if report.outcome is not ForgettingOutcome.FORGOTTEN:
                level = logging.WARNING
            log.log(level, "%s at %s: %s %s", forgetting.generation_id, forgetting.provider,
                    report.outcome, report.reason or "")  # fmt: skip
            await self._ledger.report_forgetting(forgetting.generation_id, report)
        return len(found)
