"""What is done to the processes meanwhile: drawn from a seed, without an end."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec

from tests.fixtures.stack import PARTS, Stack

_HOLD_SECONDS: Final = {"kill": (0.0, 0.5, 3.0), "freeze": (0.5, 3.0, 10.0)}
"""How long what was killed stays down, and what was frozen still: below a lease and above it."""
_TOGETHER: Final = 0.2
"""The share of faults that hit several processes at once."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Processes killed or frozen after a pause, and mended again."""

    kind: Literal["kill", "freeze"]
    parts: tuple[str, ...]
    pause_seconds: float
    hold_seconds: float

    def __str__(self) -> str:
        return f"{self.kind} {'+'.join(self.parts)} for {self.hold_seconds} s"


def faults_of(seed: int, pause_seconds: float) -> Iterator[Fault]:
    """One fault after the other; `pause_seconds` is the mean between two of them."""
    draw = random.Random(f"{seed}:faults")
    while True:
        count = draw.choice((2, 3, len(PARTS))) if draw.random() < _TOGETHER else 1
        kind: Literal["kill", "freeze"] = draw.choice(("kill", "freeze"))
        yield Fault(
            kind=kind,
            parts=tuple(draw.sample(PARTS, count)),
            pause_seconds=2 * pause_seconds * draw.random(),
            hold_seconds=draw.choice(_HOLD_SECONDS[kind]),
        )


def commit(stack: Stack, fault: Fault, is_over: Callable[[], bool]) -> bool:
    """Wait, break, and mend; False when all is over before it would begin."""
    if _sleep(fault.pause_seconds, is_over):
        return False
    dead = [name for name, part in stack.parts.items() if not part.is_running]
    assert not dead, f"died by themselves: {dead}"
    for name in fault.parts:
        part = stack.parts[name]
        if fault.kind == "freeze":
            # PostgreSQL's backends lead groups of their own: they go on, and nobody new gets in.
            part.freeze()
        elif name == "postgres":
            stack.kill_postgres()
        else:
            part.kill()
    time.sleep(fault.hold_seconds)
    stack.heal()
    return True


def _sleep(seconds: float, is_over: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_over():
        time.sleep(0.05)
    return is_over()
