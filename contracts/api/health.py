"""How the whole deployment is, as its operator sees it."""

from __future__ import annotations

import enum
from datetime import date

from contracts.api.common import Reply
from contracts.presence import BreakerState, ProviderSeen


class Concern(enum.StrEnum):
    """What somebody should look at."""

    NO_WORKER = "no_worker"
    NO_CLOCKWORK = "no_clockwork"
    WORK_LATE = "work_late"
    FOLLOWER_BEHIND = "follower_behind"
    PROVIDER_PAUSED = "provider_paused"
    DRIFT = "drift"
    NOT_RECONCILED = "not_reconciled"


class Follower(Reply, frozen=True, kw_only=True):
    """What is made of the log, and how many positions are still to be followed."""

    name: str
    position: int
    behind: int


class ProviderHealth(Reply, frozen=True, kw_only=True):
    """A provider as the worst off of the workers' processes sees it.

    `open_workers` of `workers` send it nothing but a probe, the first of them for `for_seconds`.
    """

    name: str
    state: BreakerState
    reason: str | None
    for_seconds: float
    held_back: int
    open_workers: int
    workers: int


class WorkerHealth(Reply, frozen=True, kw_only=True):
    """A process that has said in the last minute that it is there."""

    worker: str
    seen_seconds_ago: float
    carried: int
    places: int
    providers: tuple[ProviderSeen, ...]


class HealthReply(Reply, frozen=True, kw_only=True):
    """The whole deployment. `concerns` is empty while all is well.

    `jobs` counts generations under way by status, and `due` those that wait for a worker, both up
    to 20,000; `late_seconds` is how long the first of them has waited, those of low priority from
    when they need wait no longer. `claimed_seconds_ago` is null when no worker has ever asked for
    work. `drifts` counts by kind what the comparison of `reconciled_day` found.
    """

    concerns: tuple[Concern, ...]
    log_position: int
    followers: tuple[Follower, ...]
    clockwork_leads: bool
    jobs: dict[str, int]
    due: int
    late_seconds: float
    claimed_seconds_ago: float | None
    providers: tuple[ProviderHealth, ...]
    workers: tuple[WorkerHealth, ...]
    reconciled_day: date | None
    drifts: dict[str, int]
