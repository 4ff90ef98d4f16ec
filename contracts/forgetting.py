"""The border between ledger and worker for what providers are to forget.

A generation that was deleted, whose media were kept long enough, or whose owner was erased leaves
its input and output at the provider. The ledger notes that they are to go; a worker asks for that,
and says how it went. No credits depend on it.
"""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from contracts.jobs import ShortText


class Forgetting(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the provider to delete what it keeps of these requests of one generation.

    `fence` names this try: what is said of an older one counts no more.
    """

    generation_id: str
    fence: int
    provider: str
    request_ids: tuple[str, ...]


class ForgettingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed out; empty when nothing is due."""

    items: tuple[Forgetting, ...]


class ForgettingOutcome(enum.StrEnum):
    """Nothing is left there; it was not possible now, and is tried again; it never will be."""

    FORGOTTEN = "forgotten"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"


class ForgettingReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it went; `reason` says why not."""

    fence: int
    outcome: ForgettingOutcome
    reason: ShortText | None = None


class ForgettingReply(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted` is false when a newer try is under way, or all is over: nothing has changed."""

    accepted: bool


class Unforgotten(msgspec.Struct, frozen=True, kw_only=True):
    """A generation whose payloads stay at the provider, since when nobody tries any more, and why
    the last try failed; null: nobody came back from it."""

    generation_id: str
    given_up_at: datetime
    reason: str | None


class UnforgottenReply(msgspec.Struct, frozen=True, kw_only=True):
    """How many were given up, and the first of them."""

    count: int
    items: tuple[Unforgotten, ...]
