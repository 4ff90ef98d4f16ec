"""One child process: how it is started, how it is stopped, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from deploy.run.host import ServiceUser, die_with_parent


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program, everything it may know, and how it wants to be stopped."""

    name: str
    args: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    user: ServiceUser | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0


def spawn(command: Command, output: int | None) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, writing to the descriptor `output` (None: ours).

    A Ctrl-C at the terminal then reaches the launcher alone, which stops its children in order.
    """
    user = command.user
    return subprocess.Popen(
        command.args,
        env=command.env,
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        preexec_fn=die_with_parent(command.stop_signal),
    )


def stop(
    process: subprocess.Popen[bytes], command: Command, hurry: Callable[[], bool] = lambda: False
) -> int:
    """Ask once, wait (no longer when `hurry()`), then kill it and all it started.

    Once only: a second SIGTERM makes a job worker exit while its threads still hang.
    Returns the exit status, negative for a signal.
    """
    if process.poll() is None:
        process.send_signal(command.stop_signal)
    deadline = time.monotonic() + command.stop_seconds
    while process.poll() is None and not hurry() and time.monotonic() < deadline:
        time.sleep(0.02)
    sweep(process.pid)
    return process.wait()


def sweep(pid: int) -> None:
    """Kill what is left of the group that the child `pid` leads or led."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def open_log(path: Path) -> int:
    """Open a log for appending, keep the previous run's as `.old`; returns a descriptor."""
    if path.exists():
        path.replace(path.with_suffix(".old"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log, for the person who must find out why."""
    with suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll `condition()` until it is true; raises TimeoutError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
