"""What a process asks of the kernel; nothing where there is no Linux."""

from __future__ import annotations

import ctypes
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when Dramatiq's main process dies, however it dies.

    Otherwise its processes would go on alone, beside those of the main process's successor.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def hide_environment() -> None:
    """Close what `/proc` tells of this process, its environment with our keys above all, to others
    of the same user: decoders of strangers' media run beside it. It leaves no core file either."""
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
