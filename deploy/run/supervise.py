"""Keeps a set of children running: in order up, with back-off again, in reverse order down.

One thread and no event loop: a child's readiness is polled, its death wakes us by SIGCHLD.
A multi-threaded launcher would deliver the parent-death signal once per thread.
"""

from __future__ import annotations

import enum
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from deploy.run.child import Command, open_log, spawn, stop, sweep, tail

FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 10.0
SETTLED_SECONDS = 30.0
"""A child that was ready this long has earned a fresh back-off."""
LOG_BYTES_MAX = 32 * 1024 * 1024


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A command with its place among the others.

    `ready` is polled once the child has lived `settle_seconds`; a `once` child is ready when it
    has ended with 0, and unless `required` it may end with anything.
    A child that was never ready may fail `start_attempts` times; after that it is started
    again for ever. `after` names who must have been ready once.
    """

    command: Command
    after: tuple[str, ...] = ()
    ready: Callable[[], bool] = lambda: True
    settle_seconds: float = 0.0
    once: bool = False
    required: bool = True
    start_attempts: int = 3
    start_seconds: float = 60.0
    to_console: bool = False
    address: str = ""

    @property
    def name(self) -> str:
        """The command's name, which is the child's."""
        return self.command.name


class ChildFailed(Exception):
    """A child that the run cannot do without never became ready."""

    def __init__(self, name: str, status: int | None, log: Path) -> None:
        super().__init__(name, status, log)
        self.name = name
        self.status = status
        self.log = log

    def __str__(self) -> str:
        return f"{self.name} did not start (status {self.status}); {self.log} ends:\n" + tail(
            self.log
        )


class Phase(enum.Enum):
    """Where a child stands."""

    WAITING = "waiting for others"
    STARTING = "started, not ready"
    READY = "ready"
    BACKOFF = "waiting to be started again"
    DONE = "ended, as it should"


class _Seat:
    """A child and what has become of it so far."""

    def __init__(self, child: Child, logs: Path) -> None:
        self.child = child
        self.log = logs / f"{child.name}.log"
        self.log_descriptor = None if child.to_console else open_log(self.log)
        self.phase = Phase.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.since = 0.0
        self.failures = 0
        self.was_ready = False
        self.status: int | None = None


class Supervisor:
    """Runs children until it is told to stop.

    `changed` is called after every start with the pids by name of the children that last,
    `complete` once, when every required child has been ready. `guard` is the writing end of the
    guard's pipe (`guard.py`).
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        logs: Path,
        guard: int | None = None,
        changed: Callable[[dict[str, int]], None] = lambda pids: None,
        complete: Callable[[], None] = lambda: None,
    ) -> None:
        self._seats = {child.name: _Seat(child, logs) for child in children}
        self._guard = guard
        self._changed = changed
        self._complete = complete
        self._is_complete = False
        self._stop_requests = 0
        self._wake_reader, self._wake_writer = os.pipe()
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)

    def run(self, until: str | None = None) -> int:
        """Serve until a stop signal, or until the child `until` has ended; returns its status.

        Raises ChildFailed when a required child cannot be started. Whatever happens, every
        child is stopped on the way out.
        """
        self._listen()
        try:
            while not self._stop_requests:
                for seat in self._seats.values():
                    self._advance(seat)
                self._announce()
                self._bound_logs()
                if until and self._seats[until].status is not None:
                    return self._seats[until].status or 0
                self._sleep()
            return 0
        finally:
            self._stop_all()

    def _announce(self) -> None:
        required = (seat for seat in self._seats.values() if seat.child.required)
        if not self._is_complete and all(seat.was_ready for seat in required):
            self._is_complete = True
            self._complete()

    # --- one child's life ---------------------------------------------------------------------

    def _advance(self, seat: _Seat) -> None:
        now = time.monotonic()
        ended = seat.process is not None and seat.process.poll() is not None
        match seat.phase:
            case Phase.WAITING if all(self._seats[name].was_ready for name in seat.child.after):
                self._start(seat)
            case Phase.BACKOFF if now >= seat.since:
                self._start(seat)
            case Phase.STARTING | Phase.READY if ended:
                self._ended(seat)
            case Phase.STARTING if self._is_ready(seat, now):
                seat.phase, seat.was_ready = Phase.READY, True
                self._say(seat, f"ready  {seat.child.address}", now - seat.since)
            case Phase.STARTING if now - seat.since > seat.child.start_seconds:
                assert seat.process is not None
                seat.process.kill()
            case _:
                pass

    def _is_ready(self, seat: _Seat, now: float) -> bool:
        child = seat.child
        return not child.once and now - seat.since >= child.settle_seconds and child.ready()

    def _start(self, seat: _Seat) -> None:
        seat.process = spawn(seat.child.command, seat.log_descriptor)
        seat.phase, seat.since = Phase.STARTING, time.monotonic()
        self._tell_guard(f"+{seat.process.pid} {int(seat.child.command.stop_signal)}")
        self._report_pids()

    def _ended(self, seat: _Seat) -> None:
        assert seat.process is not None
        seat.status = seat.process.returncode
        self._bury(seat)
        if seat.child.once and (seat.status == 0 or not seat.child.required):
            seat.phase, seat.was_ready = Phase.DONE, True
            if seat.child.required:
                self._say(seat, "done", time.monotonic() - seat.since)
            return
        if seat.phase is Phase.READY and time.monotonic() - seat.since > SETTLED_SECONDS:
            seat.failures = 0
        seat.failures += 1
        if not seat.was_ready and seat.failures >= seat.child.start_attempts:
            raise ChildFailed(seat.child.name, seat.status, seat.log)
        delay = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (seat.failures - 1))
        self._say(seat, f"ended with {seat.status}; starting it again in {delay:.1f} s")
        seat.phase, seat.since = Phase.BACKOFF, time.monotonic() + delay

    def _bury(self, seat: _Seat) -> None:
        assert seat.process is not None
        sweep(seat.process.pid)  # a killed master leaves its workers behind
        self._tell_guard(f"-{seat.process.pid}")
        seat.process = None

    # --- stopping -----------------------------------------------------------------------------

    def _stop_all(self) -> None:
        """Stop the children, the last started first; a second Ctrl-C no longer waits."""
        for seat in reversed(self._seats.values()):
            if seat.process is not None:
                stop(seat.process, seat.child.command, lambda: self._stop_requests > 1)
                self._bury(seat)

    # --- the world ----------------------------------------------------------------------------

    def _listen(self) -> None:
        def request_stop(number: int, frame: FrameType | None) -> None:
            self._stop_requests += 1

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, request_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def _sleep(self) -> None:
        restless = (Phase.STARTING, Phase.BACKOFF)
        busy = any(seat.phase in restless for seat in self._seats.values())
        seconds = 0.05 if busy else 1.0
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)

    def _bound_logs(self) -> None:
        for seat in self._seats.values():
            descriptor = seat.log_descriptor
            # The child appends, so a log cut to nothing goes on at its beginning.
            if descriptor is not None and os.fstat(descriptor).st_size > LOG_BYTES_MAX:
                os.ftruncate(descriptor, 0)

    def _report_pids(self) -> None:
        lasting = [seat for seat in self._seats.values() if not seat.child.once]
        self._changed({seat.child.name: seat.process.pid for seat in lasting if seat.process})

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None:
            with suppress(BrokenPipeError):
                os.write(self._guard, f"{line}\n".encode())

    def _say(self, seat: _Seat, text: str, seconds: float | None = None) -> None:
        taken = "" if seconds is None else f"  ({seconds:.1f} s)"
        print(f"  {seat.child.name:<10} {text}{taken}", file=sys.stderr, flush=True)
