"""Where requests are turned away, before anything of them is read, while too many wait.

A request that would be answered too late costs those before it. To read it, check it and refuse
it would cost half of what it costs to carry it out; to turn it away here costs a tenth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ledger_service.errors import Unavailable

WAITING_MAX: Final = 1_024
"""Commands that may wait before further ones are turned away: a fraction of a second's work."""
BATCHED_MAX: Final = 16_384
"""Commands of batches that may be there at a time; a further batch is told to come later."""
BATCHED_IN_FLIGHT_MAX: Final = 512
"""Commands of all batches that the engine has at a time: two commits' worth. More of them would
make everybody else wait, and the last would have waited too long before they are taken."""

_GUARDED: Final = (b"/v1/accounts", b"/v1/transfers", b"/v1/batches")
_GENERATIONS: Final = b"/v1/generations"


class Gate:
    """Open while fewer than `WAITING_MAX` commands wait; `waiting` counts them.

    Only what callers ask for anew is turned away: reads, workers' reports and providers' webhooks
    finish what is under way. `turned_away` counts.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self.turned_away = 0

    def turns_away(self, method: bytes, url: bytes) -> bool:
        """Whether a request must come again later."""
        if method != b"POST" or self._waiting() < WAITING_MAX:
            return False
        is_new = url.startswith(_GUARDED) or url.partition(b"?")[0] == _GENERATIONS
        self.turned_away += is_new
        return is_new


class BatchRoom:
    """Batches share a part of the engine: what has no room waits here, where it is in nobody's
    way."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(BATCHED_IN_FLIGHT_MAX)
        self._commands = 0

    @contextmanager
    def of(self, commands: int) -> Iterator[asyncio.Semaphore]:
        """Room for a batch; each of its commands acquires the semaphore. Raises `Unavailable`
        before any of them begins."""
        if self._commands + commands > BATCHED_MAX:
            raise Unavailable("too many batches")
        self._commands += commands
        try:
            yield self._room
        finally:
            self._commands -= commands
