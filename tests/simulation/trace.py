"""What happened, step by step: a digest that names a history, and its last steps for reading."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

STEPS_SHOWN: Final = 20


class Violation(Exception):
    """A judge's finding: `judge` is its name."""

    def __init__(self, judge: str, text: str) -> None:
        super().__init__(f"{judge}: {text}")
        self.judge = judge


class Trace:
    """Steps in order. Two runs are the same exactly when their digests are."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._digest = hashlib.sha256()
        self._last: deque[tuple[int, datetime, tuple[Any, ...]]] = deque(maxlen=STEPS_SHOWN)
        self.steps = 0

    def add(self, *what: Any) -> None:
        """Note a step: who, and what."""
        self.steps += 1
        now = self._now()
        self._digest.update(f"{now} {what}\n".encode())
        self._last.append((self.steps, now, what))

    @property
    def digest(self) -> str:
        """Of all steps so far."""
        return self._digest.hexdigest()[:16]

    def tail(self) -> str:
        """The last steps, a line each."""
        return "\n".join(
            f"  {step:>5}  {now:%d %H:%M:%S.%f}  {' '.join(map(str, what))[:200]}"
            for step, now, what in self._last
        )
