"""What a comparison has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contracts.reconciling import Drift, Example, Finding

MEANINGS: Final[Mapping[Drift, str]] = {
    Drift.UNKNOWN_REQUEST: "bears our tags at the provider, and no attempt of the ledger knows it",
    Drift.ABANDONED_REQUEST: "is at the provider, though the attempt was held for never sent",
    Drift.REFUNDED_REQUEST: "was or is being made by the provider, and refunded: our cost",
    Drift.LATE_SUCCESS: "succeeded after its end, and was booked as our cost",
    Drift.REPEATED_SUBMIT: "one attempt, submitted more than once",
    Drift.UNLISTED_ATTEMPT: "was submitted, and the provider does not list it",
    Drift.MISSING_FILE: "is the result of a success, and not in the storage",
    Drift.WRONG_SIZE: "has another size in the storage than in the ledger",
    Drift.FOREIGN_FILE: "is in the storage, and no generation's result",
    Drift.UNREMOVED_FILE: "is in the storage, though its removal was recorded",
    Drift.KEPT_PAYLOADS: "was to be forgotten by the provider, and is not",
}


class Collector:
    """Counts what is found and keeps the first examples of each kind."""

    def __init__(self, examples_max: int) -> None:
        self._examples_max = examples_max
        self._counts: dict[Drift, int] = {}
        self._examples: dict[Drift, list[Example]] = {}

    def add(self, drift: Drift, **example: Any) -> None:
        """One more of a kind."""
        self._counts[drift] = self._counts.get(drift, 0) + 1
        kept = self._examples.setdefault(drift, [])
        if len(kept) < self._examples_max:
            kept.append({name: value for name, value in example.items() if value is not None})

    def add_unseen(self, drift: Drift, count: int) -> None:
        """More of a kind, of which nothing else is known."""
        if count > 0:
            self._counts[drift] = self._counts.get(drift, 0) + count
            self._examples.setdefault(drift, [])

    def findings(self) -> tuple[Finding, ...]:
        """What there is, in the order of the kinds."""
        return tuple(
            Finding(drift=drift, count=self._counts[drift], examples=tuple(self._examples[drift]))
            for drift in Drift
            if drift in self._counts
        )
