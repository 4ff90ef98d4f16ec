"""What an account is given or bound by: recurring grants, alerts, spend limits."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

import msgspec

from contracts import limits
from contracts.api.accounts import Account
from contracts.api.common import Amount, Instant, Reference, Reply, Request, Source, Tags

TermId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$(?!\n)")
]
"""Chosen by the caller; what keeps its id goes on where it is."""
Periods = Annotated[int, msgspec.Meta(ge=1, le=limits.SCHEDULE_PERIODS_MAX)]
Level = Annotated[int, msgspec.Meta(ge=-limits.BALANCE_MAX_CREDITS, le=limits.BALANCE_MAX_CREDITS)]


class PeriodUnit(enum.StrEnum):
    """What a recurring grant's periods are counted in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class LimitWindow(enum.StrEnum):
    """The time that a spend limit is for: a day or month of UTC, or for good."""

    DAY = "day"
    MONTH = "month"
    LIFETIME = "lifetime"


class Schedule(Request, frozen=True, kw_only=True):
    """A recurring grant: `amount` credits every `every` units of time.

    Period 0 begins at `starts_at`, each later one at the same wall time in `time_zone` (an IANA
    name), and on the last day of a month that is too short. `ends_at` (exclusive) is where it
    stops. A grant expires after `expires_after_periods` periods, never when that is null; then at
    most `rollover_cap` credits of the schedule live on for one more period.
    """

    schedule_id: TermId
    amount: Amount
    unit: PeriodUnit
    every: Periods = 1
    starts_at: Instant
    ends_at: Instant | None = None
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "UTC"
    expires_after_periods: Periods | None = 1
    rollover_cap: Annotated[int, msgspec.Meta(ge=0, le=limits.AMOUNT_MAX_CREDITS)] = 0
    source: Source = Source.SUBSCRIPTION
    priority: Annotated[int, msgspec.Meta(ge=0, le=limits.PRIORITY_MAX)] = limits.PRIORITY_DEFAULT
    unit_cost_micros: Annotated[int, msgspec.Meta(ge=0, le=limits.UNIT_COST_MAX_MICROS)] | None = (
        None
    )
    restrict_to: Tags = ()
    reference: Reference | None = None


class SchedulesRequest(Request, frozen=True, kw_only=True):
    """All recurring grants that the account has from now on."""

    schedules: Annotated[tuple[Schedule, ...], msgspec.Meta(max_length=limits.SCHEDULES_MAX)]


class RunningSchedule(Schedule, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A recurring grant with the next of its periods; `next_at` is null when it is over."""

    next_period: int
    next_at: datetime | None


class SchedulesReply(Reply, frozen=True, kw_only=True):
    """An account's recurring grants."""

    schedules: tuple[RunningSchedule, ...]


class SchedulesSetReply(Reply, frozen=True, kw_only=True):
    """The outcome of setting them; what was due at once has been granted."""

    position: int | None
    recorded_at: datetime
    account: Account
    schedules: tuple[RunningSchedule, ...]


class ThresholdsRequest(Request, frozen=True, kw_only=True):
    """What is watched from now on: `low_balance` are levels of the available balance,
    `expiry_notice_seconds` how long before credits expire that is announced (null: not at all)."""

    low_balance: Annotated[tuple[Level, ...], msgspec.Meta(max_length=limits.THRESHOLDS_MAX)] = ()
    expiry_notice_seconds: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.EXPIRY_NOTICE_MAX_SECONDS)] | None
    ) = None


class ThresholdsReply(Reply, frozen=True, kw_only=True):
    """What is watched; `below` are the levels that the available balance is under."""

    low_balance: tuple[int, ...]
    expiry_notice_seconds: int | None
    below: tuple[int, ...]


class ThresholdsSetReply(Reply, frozen=True, kw_only=True):
    """The outcome of setting it."""

    position: int | None
    recorded_at: datetime
    account: Account
    thresholds: ThresholdsReply


class SpendLimit(Request, frozen=True, kw_only=True):
    """No more than `amount` credits in each window: for all callers together, for each API key by
    itself (`per_key`), or for one key (`key_id`)."""

    limit_id: TermId
    amount: Amount
    window: LimitWindow = LimitWindow.DAY
    per_key: bool = False
    key_id: TermId | None = None


class PolicyLimit(SpendLimit, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A spend limit as answers tell of it."""


SpendLimits = Annotated[tuple[SpendLimit, ...], msgspec.Meta(max_length=limits.SPEND_LIMITS_MAX)]


class LimitsRequest(Request, frozen=True, kw_only=True):
    """All spend limits of the account from now on; without any, the tenant's policy has them."""

    limits: SpendLimits


class KeyUsage(Reply, frozen=True, kw_only=True):
    """What one API key has spent under a limit in its present window."""

    key_id: str
    used: int


class LimitUsage(Reply, frozen=True, kw_only=True):
    """A spend limit in its present window. `used`: by all keys together; `by_key`: where the limit
    is for each key by itself. `resets_at`: when the window ends, null for a lifetime."""

    limit_id: str
    amount: int
    window: LimitWindow
    per_key: bool
    key_id: str | None
    used: int
    by_key: tuple[KeyUsage, ...]
    resets_at: datetime | None


class LimitsReply(Reply, frozen=True, kw_only=True):
    """The spend limits that hold; `from_policy`: they are the tenant's, the account has none."""

    limits: tuple[LimitUsage, ...]
    from_policy: bool


class LimitsSetReply(Reply, frozen=True, kw_only=True):
    """The outcome of setting them."""

    position: int | None
    recorded_at: datetime
    account: Account
    limits: tuple[LimitUsage, ...]
