"""Events that change what may happen on an account, and alerts that follow from its balance."""

from __future__ import annotations

from datetime import datetime

from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.events.account import AccountEvent, Slice


class StandingChanged(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of changes of the status."""

    reason: str | None = None
    private: str | None = None


class AccountFrozen(StandingChanged, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing may be spent."""


class AccountUnfrozen(StandingChanged, frozen=True, kw_only=True, omit_defaults=True):
    """It may be spent again."""


class AccountClosed(StandingChanged, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing may be spent or granted; what was begun comes to its end. Schedules end."""


class SchedulesSet(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """These are the account's recurring grants from now on, each with its next period."""

    schedules: tuple[Schedule, ...] = ()


class ThresholdsSet(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """These balances and lead times are watched from now on.

    `below` are the levels that the available balance is under already: no crossing.
    """

    thresholds: Thresholds
    below: tuple[int, ...] = ()


class ThresholdCrossed(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The available balance fell below `level`, or rose to it again."""

    level: int
    is_below: bool
    available: int


class ExpiryComing(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Free credits of these lots expire within the lead time that the account asked for."""

    amount: int
    slices: tuple[Slice, ...]
    first_at: datetime


class LimitsSet(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """These spend limits hold from now on; counters of limits that stay go on."""

    limits: tuple[SpendLimit, ...] = ()
