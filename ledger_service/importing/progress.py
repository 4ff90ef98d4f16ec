"""One line that tells a person how far it is."""

from __future__ import annotations

import sys
import time
from typing import Final

REFRESH_SECONDS: Final = 0.2


class ProgressLine:
    """Calls with a count draw `word 1,200/5,000 (24%) 900/s, 4 s left`, on a terminal only."""

    def __init__(self, word: str, total: int) -> None:
        self._word = word
        self._total = total
        self._is_shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if self._is_shown and (now - self._drawn >= REFRESH_SECONDS or done == self._total):
            self._drawn = now
            sys.stderr.write(f"\r\x1b[K{self._text(done, now - self._started)}")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line as it is and go on below it."""
        if self._is_shown and self._drawn:
            sys.stderr.write("\n")

    def _text(self, done: int, seconds: float) -> str:
        rate = done / seconds if seconds else 0.0
        text = f"{self._word} {done:,}"
        if self._total:
            text += f"/{self._total:,} ({100 * done // self._total}%)"
        text += f" {rate:,.0f}/s"
        if self._total and rate:
            text += f", {(self._total - done) / rate:,.0f} s left"
        return text
