"""The actors of the worker: one, which answers the doorbell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import dramatiq
from dramatiq import Actor, Broker

from contracts.jobs import DOORBELL_ACTOR, DOORBELL_QUEUE
from contracts.limits import ID_MAX_CHARACTERS
from job_worker.carrying import CARRY_SECONDS_MAX

TIME_LIMIT_SECONDS: Final = CARRY_SECONDS_MAX + 60.0
"""For the wait for a place, which is all that an actor does. A net that nothing should reach:
whoever has a place gives it back long before, and in an orderly way."""
AGE_LIMIT_SECONDS: Final = 600.0
"""An older bell is for nothing: what is still due was rung again long since."""


def declare(broker: Broker, answer: Callable[[str], None]) -> Actor[[object], None]:
    """Declare the doorbell's actor on `broker`; `answer` gets the generation's id.

    It is never retried by the queue: the ledger rings again whatever is due.
    """

    @dramatiq.actor(
        actor_name=DOORBELL_ACTOR,
        queue_name=DOORBELL_QUEUE,
        broker=broker,
        max_retries=0,
        max_age=int(AGE_LIMIT_SECONDS * 1000),
        time_limit=int(TIME_LIMIT_SECONDS * 1000),
    )
    def advance(generation_id: object) -> None:
        """Advance one generation; the message's only argument is its id."""
        if not isinstance(generation_id, str) or not 0 < len(generation_id) <= ID_MAX_CHARACTERS:
            raise TypeError("a doorbell's argument must be a generation id")
        answer(generation_id)

    return advance
