"""Recurring grants, alerts, spend limits and policies, from requests to the domain and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import available_timezones

from contracts.api import policies, terms
from contracts.api.common import Source
from ledger_service.api.body import fault, in_utc
from ledger_service.domain.account.limits import window_of
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.policy import DEFAULT_POLICY, Policy, PolicyState

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""No recurring grant begins before this: all its periods up to now would be granted."""
_SECOND: Final = timedelta(seconds=1)


def schedules_of(request: terms.SchedulesRequest) -> tuple[Schedule, ...]:
    """Raises `Rejected` for ids that come twice, unknown time zones and impossible times."""
    _refuse_twice("/schedules", [schedule.schedule_id for schedule in request.schedules])
    return tuple(
        [_schedule(f"/schedules/{n}", wanted) for n, wanted in enumerate(request.schedules)]
    )


def _schedule(pointer: str, wanted: terms.Schedule) -> Schedule:
    starts_at = in_utc(wanted.starts_at, f"{pointer}/starts_at")
    ends_at = in_utc(wanted.ends_at, f"{pointer}/ends_at")
    assert starts_at is not None
    if starts_at < EARLIEST:
        raise fault(f"{pointer}/starts_at", f"must not be before {EARLIEST:%Y-%m-%d}")
    if ends_at is not None and ends_at <= starts_at:
        raise fault(f"{pointer}/ends_at", "must be after starts_at")
    if wanted.time_zone not in _time_zones():
        raise fault(f"{pointer}/time_zone", "must be the name of an IANA time zone")
    return Schedule(
        schedule_id=wanted.schedule_id,
        amount=wanted.amount,
        unit=wanted.unit.value,
        every=wanted.every,
        starts_at=starts_at,
        ends_at=ends_at,
        time_zone=wanted.time_zone,
        expires_after_periods=wanted.expires_after_periods,
        rollover_cap=wanted.rollover_cap,
        source=wanted.source.value,
        priority=wanted.priority,
        unit_cost_micros=wanted.unit_cost_micros,
        restrict_to=wanted.restrict_to,
        reference=wanted.reference,
    )


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def running_schedules(state: AccountState) -> tuple[terms.RunningSchedule, ...]:
    """The account's recurring grants, each with its next period."""
    return tuple([_running(schedule) for schedule in state.terms.schedules])


def _running(schedule: Schedule) -> terms.RunningSchedule:
    return terms.RunningSchedule(
        schedule_id=schedule.schedule_id,
        amount=schedule.amount,
        unit=terms.PeriodUnit(schedule.unit),
        every=schedule.every,
        starts_at=schedule.starts_at,
        ends_at=schedule.ends_at,
        time_zone=schedule.time_zone,
        expires_after_periods=schedule.expires_after_periods,
        rollover_cap=schedule.rollover_cap,
        source=Source(schedule.source),
        priority=schedule.priority,
        unit_cost_micros=schedule.unit_cost_micros,
        restrict_to=schedule.restrict_to,
        reference=schedule.reference,
        next_period=schedule.period,
        next_at=schedule.next_at,
    )


def thresholds_of(request: terms.ThresholdsRequest) -> Thresholds:
    """Raises `Rejected` for a level that comes twice."""
    _refuse_twice("/low_balance", request.low_balance)
    return Thresholds(
        low_balance=request.low_balance, expiry_notice_seconds=request.expiry_notice_seconds
    )


def thresholds_shown(state: AccountState) -> terms.ThresholdsReply:
    """What is watched on the account."""
    return terms.ThresholdsReply(
        low_balance=state.terms.thresholds.low_balance,
        expiry_notice_seconds=state.terms.thresholds.expiry_notice_seconds,
        below=state.terms.below,
    )


def limits_of(given: terms.SpendLimits) -> tuple[SpendLimit, ...]:
    """Raises `Rejected` for ids that come twice and for limits of all keys and of one."""
    _refuse_twice("/limits", [limit.limit_id for limit in given])
    for number, limit in enumerate(given):
        if limit.per_key and limit.key_id is not None:
            raise fault(f"/limits/{number}/key_id", "not together with per_key")
    return tuple(
        [
            SpendLimit(
                limit_id=limit.limit_id,
                amount=limit.amount,
                window=limit.window.value,
                per_key=limit.per_key,
                key_id=limit.key_id,
            )
            for limit in given
        ]
    )


def limits_used(
    state: AccountState, limits: Iterable[SpendLimit], now: datetime
) -> tuple[terms.LimitUsage, ...]:
    """Limits with what the account has spent under them in their windows at `now`."""
    return tuple([_usage(state, limit, now) for limit in limits])


def _usage(state: AccountState, limit: SpendLimit, now: datetime) -> terms.LimitUsage:
    window, resets_at = window_of(limit.window, now)
    is_of_keys = limit.per_key or limit.key_id is not None
    prefix = f"{limit.limit_id}/" if is_of_keys else limit.limit_id
    running = [
        (counter.counter.removeprefix(prefix), counter.used)
        for counter in state.terms.counters
        if counter.window == window
        and (counter.counter.startswith(prefix) if is_of_keys else counter.counter == prefix)
    ]
    if limit.key_id is not None:
        running = [(key_id, used) for key_id, used in running if key_id == limit.key_id]
    by_key = [terms.KeyUsage(key_id=key_id, used=used) for key_id, used in running]
    return terms.LimitUsage(
        limit_id=limit.limit_id,
        amount=limit.amount,
        window=terms.LimitWindow(limit.window),
        per_key=limit.per_key,
        key_id=limit.key_id,
        used=sum([used for _, used in running]),
        by_key=tuple(by_key) if limit.per_key else (),
        resets_at=resets_at,
    )


def policy_of(request: policies.PolicyRequest) -> Policy:
    """Raises `Rejected` as `limits_of` does."""
    retention = request.media_retention_seconds
    return Policy(
        grace=timedelta(seconds=request.grace_seconds),
        repay_debt=request.repay_debt,
        expires_after={
            source.value: timedelta(seconds=seconds)
            for source, seconds in request.expires_after_seconds.items()
        },
        promotional_first=request.promotional_first,
        hold_ttl=timedelta(seconds=request.hold_ttl_seconds),
        limits=limits_of(request.limits),
        media_retention=None if retention is None else timedelta(seconds=retention),
        generations_in_flight_max=request.generations_in_flight_max,
        tenant_generations_in_flight_max=request.tenant_generations_in_flight_max,
        generations_per_day_max=request.generations_per_day_max,
        tenant_generations_per_day_max=request.tenant_generations_per_day_max,
    )


def policy_shown(found: PolicyState | None) -> policies.Policy:
    """A tenant's policy; the one that is shipped while it has none."""
    policy = found.policy if found else DEFAULT_POLICY
    retention = policy.media_retention
    return policies.Policy(
        version=found.version if found else 0,
        changed_at=found.recorded_at if found else None,
        grace_seconds=policy.grace // _SECOND,
        repay_debt=policy.repay_debt,
        expires_after_seconds={
            source: lasting // _SECOND for source, lasting in policy.expires_after.items()
        },
        promotional_first=policy.promotional_first,
        hold_ttl_seconds=policy.hold_ttl // _SECOND,
        limits=tuple([_limit_shown(limit) for limit in policy.limits]),
        media_retention_seconds=retention // _SECOND if retention else None,
        generations_in_flight_max=policy.generations_in_flight_max,
        tenant_generations_in_flight_max=policy.tenant_generations_in_flight_max,
        generations_per_day_max=policy.generations_per_day_max,
        tenant_generations_per_day_max=policy.tenant_generations_per_day_max,
    )


def _limit_shown(limit: SpendLimit) -> terms.PolicyLimit:
    return terms.PolicyLimit(
        limit_id=limit.limit_id,
        amount=limit.amount,
        window=terms.LimitWindow(limit.window),
        per_key=limit.per_key,
        key_id=limit.key_id,
    )


def _refuse_twice(pointer: str, named: Iterable[object]) -> None:
    for name, times in Counter(named).items():
        if times > 1:
            raise fault(pointer, f"{name} comes twice")
