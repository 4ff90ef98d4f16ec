"""Counts how generations end, and how soon their credits come back. A follower of the log.

The verdict and the refund are one transaction, so what a customer waits for lies before it: from
the first word that the provider is done (its webhook, or an answer to a worker that says so) to
the ending that refunds. Where the first word was the verdict itself, that is no time at all. What
was never sent has no verdict of a provider, and neither has what expired: they are not measured.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from ledger_service.domain.events import decode
from ledger_service.domain.events.generation import (
    GenerationCancelled,
    GenerationEnded,
    GenerationFailed,
    GenerationSucceeded,
)
from ledger_service.errors import CorruptHistory
from ledger_service.store.statements import load_statements
from ledger_service.store.stretches import next_stretch

DELAY_BUCKETS_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, float("inf"))
OTHER_REASON: Final = "other"
"""Stands for reasons that we do not know: providers make up new ones, without end."""

Connection = psycopg.AsyncConnection[Any]

_SQL: Final = load_statements("endings")
_log = logging.getLogger(__name__)


class EndingCount:
    """One turn follows the log a stretch further; `reasons` are those that are told apart."""

    def __init__(self, reasons: frozenset[str]) -> None:
        self._reasons = reasons

    async def turn(self, connection: Connection) -> None:
        """Raises `psycopg.Error`, and then nothing was counted."""
        async with next_stretch(connection, "endings") as stretch:
            if stretch is None:
                return
            cursor = await connection.execute(_SQL["stretch"], stretch)
            if rows := await cursor.fetchall():
                await self._count(connection, rows)

    async def _count(self, connection: Connection, rows: list[TupleRow]) -> None:
        endings: Counter[tuple[str, str]] = Counter()
        delays: dict[float, list[float]] = {}
        for generation_id, topic, state, heard_seconds_before in rows:
            try:
                event = decode(topic, state)
            except CorruptHistory as error:  # a replay will say so; the others go on
                _log.error("the ending of %s: %s", generation_id, error)
                continue
            assert isinstance(event, GenerationEnded | GenerationSucceeded)
            outcome = topic.removeprefix("generation_").partition(".")[0]
            endings[outcome, self._reason_of(event)] += 1
            if is_answer_to_a_verdict(event):
                delay = max(heard_seconds_before or 0.0, 0.0)
                upto = DELAY_BUCKETS_SECONDS[bisect_left(DELAY_BUCKETS_SECONDS, delay)]
                delays.setdefault(upto, []).append(delay)
        for (outcome, reason), ended in sorted(endings.items()):
            await connection.execute(_SQL["count"], (outcome, reason, ended))
        for upto, of_bucket in sorted(delays.items()):
            await connection.execute(_SQL["add_delays"], (upto, len(of_bucket), sum(of_bucket)))
        await connection.execute(_SQL["forget_heard"], ([row[0] for row in rows],))

    def _reason_of(self, event: GenerationEnded | GenerationSucceeded) -> str:
        if isinstance(event, GenerationSucceeded):
            return ""
        return event.reason if event.reason in self._reasons else OTHER_REASON


def is_answer_to_a_verdict(event: GenerationEnded | GenerationSucceeded) -> bool:
    """Whether credits came back because the provider had said its last word."""
    is_verdict = isinstance(event, GenerationFailed | GenerationCancelled)
    return is_verdict and event.attempt_id is not None and event.refund_id is not None
