"""The border between ledger and worker, beside the work: what a worker's process sees of providers,
and what its peers have found out.

Each process says every few seconds that it is there. In the answer it hears of accounts that a
provider has locked, so that not every process has to find that out by itself.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec

from contracts.jobs import PROVIDER_ACCOUNT_LOCKED, Count, ShortText

PROVIDERS_MAX: Final = 16
SHARED_REASONS: Final = frozenset((PROVIDER_ACCOUNT_LOCKED,))
"""What one process finds out for all of them. A refused key is its own: while keys are rotated,
others have a better one. So are troubles of the network: others may have a better way."""

Duration = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
"""In seconds."""


class BreakerState(enum.StrEnum):
    """Whether submits go out to a provider: all, none, or one."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class ProviderSeen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a process stands with a provider.

    Unless submits go out: why, for how many seconds, how many more the pause lasts, and how many
    submits it has held back. `is_certain`: it has found that out itself, by more than one submit.
    """

    name: ShortText
    state: BreakerState
    reason: ShortText | None = None
    for_seconds: Duration = 0.0
    seconds_left: Duration = 0.0
    held_back: Count = 0
    is_certain: bool = False


class PresenceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process is there: generations that it carries, of so many at once; providers it sees."""

    worker: ShortText
    carried: Count = 0
    places: Count = 0
    providers: Annotated[tuple[ProviderSeen, ...], msgspec.Meta(max_length=PROVIDERS_MAX)] = ()


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """A provider takes nothing of us, as another process has found out."""

    name: str
    reason: str
    seconds_left: float


class PresenceReply(msgspec.Struct, frozen=True, kw_only=True):
    """Every pause that a peer has found; the longest of each provider."""

    pauses: tuple[Pause, ...]
