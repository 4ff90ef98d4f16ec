"""Outlives a launcher that was killed hard, and ends what is left of its children.

The kernel already tells every child when the launcher dies, but a child may ignore that, may
have children of its own, and not every kernel does it. This process waits at the other end of a
pipe for the launcher's death. It also holds the run folder's lock until all is quiet, so that
the next launcher cannot start a second PostgreSQL on files that the first still writes.

Started as a plain file with the standard library only: it must not fail for a broken checkout.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 12.0


def main() -> None:
    """Read `+pid signal` and `-pid` lines from standard input until the launcher is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    children: dict[int, int] = {}
    for line in sys.stdin:
        pid, _, stop_signal = line[1:].partition(" ")
        if line.startswith("+"):
            children[int(pid)] = int(stop_signal)
        else:
            children.pop(int(pid), None)
    end(children)


def end(children: dict[int, int]) -> None:
    """Let the children (pid -> signal that stops it) finish, then kill what remains."""
    if sys.platform != "linux":  # on Linux the kernel has just sent it; never send it twice
        for pid, stop_signal in children.items():
            _signal_group(pid, stop_signal)
    deadline = time.monotonic() + GRACE_SECONDS
    while children and time.monotonic() < deadline:
        for pid in [pid for pid in children if not _runs(pid)]:
            _signal_group(pid, signal.SIGKILL)  # its own children may still be there
            del children[pid]
        time.sleep(0.05)
    for pid in children:
        _signal_group(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    with suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _signal_group(pid: int, signal_number: int) -> None:
    with suppress(OSError):
        os.killpg(pid, signal_number)


if __name__ == "__main__":
    main()
