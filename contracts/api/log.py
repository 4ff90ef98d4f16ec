"""The log as auditors and account holders read it."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from contracts.api.common import Reply


class Direction(enum.StrEnum):
    """What an entry did to the posted balance."""

    CREDIT = "credit"
    DEBIT = "debit"
    NONE = "none"


class Entry(Reply, frozen=True, kw_only=True):
    """One line of an account's statement, with the balances after it."""

    position: int
    version: int
    type: str
    amount: int
    direction: Direction
    posted_after: int
    held_after: int
    recorded_at: datetime
    reference: str | None
    actor: str | None
    details: dict[str, Any]


class Event(Reply, frozen=True, kw_only=True):
    """One immutable event; `data` is its recorded JSON."""

    log: str
    position: int
    stream: str
    version: int
    topic: str
    recorded_at: datetime
    actor: str | None
    data: dict[str, Any]
    idempotency_key: str | None
    last_of_command: bool


class EventsReply(Reply, frozen=True, kw_only=True):
    """A stretch of the log, oldest first; done when `next_after` >= `head`."""

    items: tuple[Event, ...]
    next_after: int
    head: int
