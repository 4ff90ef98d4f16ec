"""The emulator's time: the machine's own, or a virtual one that stands still until it is moved."""

from __future__ import annotations

import time
from typing import Final

from deploy.emulators.fal.database import Facts

VIRTUAL_LOOK_SECONDS: Final = 0.05
"""How often, in real seconds, something that waits looks at a virtual clock."""
_FACT: Final = "virtual_clock"


class Clock:
    """Tells epoch seconds. A virtual clock begins at the machine's time and outlives restarts."""

    def __init__(self, facts: Facts, *, virtual: bool) -> None:
        self.is_virtual: Final = virtual
        self._facts = facts
        self._stands_at = facts.number(_FACT) or time.time()
        if virtual:
            facts.put(_FACT, self._stands_at)

    def now(self) -> float:
        """The present."""
        return self._stands_at if self.is_virtual else time.time()

    def advance(self, seconds: float) -> None:
        """Move a virtual clock forward; what falls due meanwhile happens in its own order."""
        assert self.is_virtual, "nobody moves the real time"
        assert seconds >= 0, seconds
        self._stands_at += seconds
        self._facts.put(_FACT, self._stands_at)

    def pause_seconds(self, until: float) -> float:
        """How long to sleep, in real seconds, before `until` may have come."""
        if self.is_virtual:
            return VIRTUAL_LOOK_SECONDS
        return max(until - time.time(), 0.001)
