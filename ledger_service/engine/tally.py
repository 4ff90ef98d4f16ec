"""What the writer has done since the process began. Counted once per batch, not per command."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the buckets of batch sizes, in commands; no batch is larger than the last."""


class Tally:
    """Kept by the lanes, read by whoever watches.

    `batches` counts by lane (`warm`, `locked`) and what became of each: `appended`, or why it was
    not and its commands had to be tried again. `unknown` counts commands whose outcome their
    callers could not be told.
    """

    def __init__(self) -> None:
        self.batches: Counter[tuple[str, str]] = Counter()
        self.sizes = [0] * len(SIZES)
        self.commands = 0
        self.in_flight = 0
        self.unknown = 0

    def begin(self, commands: int) -> None:
        """A batch goes out."""
        self.in_flight += 1
        self.sizes[bisect_left(SIZES, commands)] += 1
        self.commands += commands

    def end(self, lane: str, outcome: str) -> None:
        """A batch is back."""
        self.in_flight -= 1
        self.batches[lane, outcome] += 1
