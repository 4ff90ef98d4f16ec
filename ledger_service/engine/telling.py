"""Answers go to their callers: none before the instant that it says it was recorded at.

A batch is recorded as of what the database's clock is thought to be, which may be ahead of it by
the difference of two round trips. When a batch is that quick, or somebody else looks its answer
up, the caller would hear of an instant that is still to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from ledger_service.engine.submission import Done
from ledger_service.engine.tickets import Results

EARLY_MAX: Final = timedelta(milliseconds=50)
"""By so much `append_v2` lets an instant be ahead of the database's clock. More than that means
that the clock was set back, and then there is nothing to wait for."""
TIMER_SECONDS: Final = 0.002
"""A timer may be early by less than this: uvloop rounds it to milliseconds, and counts them from a
clock that is cut to milliseconds."""


class Teller:
    """Hands results to `deliver`."""

    def __init__(self, deliver: Callable[[Results], None]) -> None:
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()

    def tell(self, results: Results, said: datetime) -> None:
        """`said`: the database's clock, read after the batch was decided or begun."""
        instants = [
            result.recorded_at
            for _, result in results
            if isinstance(result, Done) and result.recorded_at is not None
        ]
        early = max(instants, default=said) - said
        if timedelta() < early <= EARLY_MAX:
            self._loop.call_later(early.total_seconds() + TIMER_SECONDS, self._deliver, results)
        else:
            self._deliver(results)

    def fail(self, results: Results) -> None:
        """Results without anything recorded."""
        self._deliver(results)
