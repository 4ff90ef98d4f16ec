"""What an account has asked for or is bound by: recurring grants, alerts, spend limits."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A recurring grant: `amount` credits every `every` periods (`day`, `week`, `month`, `year`).

    Period 0 begins at `starts_at`; later ones at the same wall time in `time_zone`, and on the
    last day of a month that is too short. `ends_at` (exclusive) is where it stops. Each grant
    expires after `expires_after_periods` periods, or never when that is null. At its expiry, what
    is left lives on for one more period, as long as no more than `rollover_cap` credits of the
    schedule do so. `period` is the next one to be granted, at `next_at`; null when it is over.
    """

    schedule_id: str
    amount: int
    unit: str
    every: int = 1
    starts_at: datetime
    ends_at: datetime | None = None
    time_zone: str = "UTC"
    expires_after_periods: int | None = 1
    rollover_cap: int = 0
    source: str = "subscription"
    priority: int = 50
    unit_cost_micros: int | None = None
    restrict_to: tuple[str, ...] = ()
    reference: str | None = None
    period: int = 0
    next_at: datetime | None = None


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`low_balance`: levels of the available balance; `expiry_notice_seconds`: how long before
    credits expire that is announced, null for not at all."""

    low_balance: tuple[int, ...] = ()
    expiry_notice_seconds: int | None = None


class SpendLimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """No more than `amount` credits in each `window` (`day` or `month` of UTC, or `lifetime`),
    all callers together, or each API key by itself (`per_key`), or one key (`key_id`)."""

    limit_id: str
    amount: int
    window: str = "day"
    per_key: bool = False
    key_id: str | None = None


class Counter(msgspec.Struct, frozen=True, array_like=True):
    """What has been spent under a limit in the newest window in which anything was."""

    counter: str
    window: str
    used: int


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it; most accounts have none. `below`: levels that the balance is under now.

    `granted_until`: by schedule id, also of schedules that are gone, the beginning of the newest
    period that was granted. Nothing up to there is granted again.
    """

    schedules: tuple[Schedule, ...] = ()
    granted_until: dict[str, datetime] = msgspec.field(default_factory=dict)
    thresholds: Thresholds = Thresholds()
    below: tuple[int, ...] = ()
    limits: tuple[SpendLimit, ...] = ()
    counters: tuple[Counter, ...] = ()


NO_TERMS = Terms()
