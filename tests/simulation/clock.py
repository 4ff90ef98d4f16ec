"""Virtual time: an event loop that never waits, and the clocks that go by it.

What is due next happens next; between two things no time passes but that on the clock. Nothing
here reads the machine's own clock.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from typing import Any, Final

from job_worker import breaker, carrying, pulling
from job_worker.steps import find, poll, submit
from ledger_service import clockwork
from ledger_service.engine import locked_lane

BEGINNING: Final = datetime(2030, 1, 30, 22, tzinfo=UTC)
"""Near the end of a month and of a day, so that windows and periods turn over soon."""


class Stuck(Exception):
    """Everybody waits and nothing is due: a task waits for what will never come."""


class VirtualLoop(base_events.BaseEventLoop):
    """asyncio on a heap of events: instead of waiting for the next one, its clock is put on."""

    def __init__(self) -> None:
        super().__init__()
        self._now_seconds = 0.0
        self._clock_resolution = 1e-6
        self._selector = self
        self.slow_callback_duration = 1e9

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._now_seconds

    def select(self, timeout_seconds: float | None) -> list[Any]:
        """Called by asyncio when nothing is ready: that is when time passes."""
        if timeout_seconds is None:
            raise Stuck
        self._now_seconds += timeout_seconds
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no files and no sockets."""

    def _write_to_self(self) -> None:
        """There is one thread, and it is awake."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """At once and here: what ran in threads would run in any order."""
        done = self.create_future()
        done.set_result(function(*arguments))
        return done


class Clock:
    """A clock of one machine; it stands where modules have `time` and `datetime`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.ahead_seconds = 0.0

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self._loop.time()

    def now(self, zone: tzinfo = UTC) -> datetime:
        """As `datetime.now`."""
        assert zone is UTC
        seconds = self._loop.time() + self.ahead_seconds
        return BEGINNING + timedelta(microseconds=round(seconds * 1e6))


@contextmanager
def virtual_time(worker: Clock, ledger: Clock, chance: Random) -> Iterator[None]:
    """Modules that ask for the time, or for chance, get it from here."""
    places: list[tuple[Any, str, Any]] = [
        (carrying, "time", worker),
        (breaker, "time", worker),
        (breaker, "random", chance),
        (submit, "time", worker),
        (submit, "datetime", worker),
        (find, "datetime", worker),
        (poll, "datetime", worker),
        (pulling, "random", chance),
        (clockwork, "datetime", ledger),
        (locked_lane, "random", chance),
    ]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, ours in places:
        setattr(module, name, ours)
    try:
        yield
    finally:
        for (module, name, _), original in zip(places, before, strict=True):
            setattr(module, name, original)
