"""What was asked of this process, and how long answers took. Counted at each request: cheaply."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds; 2.5 s is how long a write may wait before it is answered with 503."""
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Meter:
    """The requests of one route. `buckets` has one more than there are bounds, for the rest.

    Seconds are those until the answer is ready to be sent: a stream goes on after that.
    """

    __slots__ = ("buckets", "classes", "method", "path", "seconds")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.classes = [0] * len(CLASSES)
        self.buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self.seconds = 0.0

    def note(self, status: int, seconds: float) -> None:
        """One more answer."""
        self.classes[status // 100 - 1] += 1
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.seconds += seconds


class Traffic:
    """The meters of all routes."""

    def __init__(self) -> None:
        self.meters: list[Meter] = []

    def meter(self, method: str, path: str) -> Meter:
        """A new one, for a route by its template."""
        made = Meter(method, path)
        self.meters.append(made)
        return made
