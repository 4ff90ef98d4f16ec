"""What is due on an account: expiry, rollover and recurring grants, in the order of their instants.

Commands book it before their own events, the sweep books it for whoever is silent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from ledger_service.domain.account.calendar import begins_at, next_after
from ledger_service.domain.account.lots import derived_lot, repayment
from ledger_service.domain.account.state import NEVER, AccountState, Lot, burn_key
from ledger_service.domain.account.terms import Schedule
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CreditsExpired, CreditsGranted, Slice
from ledger_service.domain.events.standing import ExpiryComing
from ledger_service.domain.world import Need

PERIODS_MAX: Final = 100
"""Recurring grants that one command books; the clockwork goes on with the rest."""


def next_due(state: AccountState) -> datetime | None:
    """When the sweep has something to book next; None when nothing will ever be due."""
    soonest = state.overflow.next_expiry_at
    for lot in state.lots:
        if lot.expires_at is not None and lot.expires_at < soonest and lot.free > 0:
            soonest = lot.expires_at
    terms = state.terms
    if terms.schedules:
        soonest = min(soonest, _next_period(state))
    if terms.thresholds.expiry_notice_seconds is not None:
        soonest = min(soonest, _next_announcement(state))
    return None if soonest == NEVER else soonest


def settle_first(draft: Draft, owner: str) -> AccountState:
    """Book what is due before what the command itself does, once; returns the account as it is
    then."""
    state = draft.account(owner)
    assert state is not None
    if not _has_due(state, draft.now) or not draft.begins_to_settle(owner):
        return state
    settle(draft, owner)
    settled = draft.account(owner)
    assert settled is not None
    return settled


def _has_due(state: AccountState, now: datetime) -> bool:
    """Whether `settle` could find something to do: mostly not."""
    terms = state.terms
    if terms.schedules or terms.thresholds.expiry_notice_seconds is not None:
        return True
    return any(lot.expires_at is not None and lot.expires_at <= now for lot in state.lots)


def settle(draft: Draft, owner: str) -> None:
    """Book what is due as the account stands now."""
    state = draft.account(owner)
    assert state is not None
    if state.terms.schedules and _next_period(state) <= draft.now:
        _settle_periods(draft, owner)
    else:
        _expire(draft, owner, draft.now)
    if state.terms.thresholds.expiry_notice_seconds is not None:
        _announce(draft, owner)


def need_of_lots(state: AccountState, now: datetime, *, adds_lot: bool = False) -> Need | None:
    """Lots beyond the head matter when they changed, or when a new lot must find its place."""
    overflow = state.overflow
    if not overflow.count:
        return None
    adds_lot = adds_lot or _next_period(state) <= now or _may_roll_over(state, now)
    changed = min(overflow.next_start_at, overflow.next_expiry_at) <= now
    if changed or adds_lot or _next_announcement(state) <= now:
        return Need(all_lots=frozenset((state.owner,)))
    return None


def _may_roll_over(state: AccountState, now: datetime) -> bool:
    """Also after the schedule's last period, when no grant is due with it."""
    if not state.terms.schedules:
        return False
    return any(lot.schedule is not None and lot.is_expired(now) for lot in state.lots)


def _next_period(state: AccountState) -> datetime:
    instants = [schedule.next_at or NEVER for schedule in state.terms.schedules]
    return min(instants, default=NEVER)


def _settle_periods(draft: Draft, owner: str) -> None:
    """Expiry up to each period's beginning, then its grant; the last expiries at the end."""
    for _ in range(PERIODS_MAX):
        state = draft.account(owner)
        assert state is not None
        instant = _next_period(state)
        if instant > draft.now:
            break
        _expire(draft, owner, instant)
        due = next(s for s in state.terms.schedules if s.next_at == instant)
        _grant_period(draft, owner, due, instant)
    else:
        return  # later periods come before what expires after them
    _expire(draft, owner, draft.now)


def _grant_period(draft: Draft, owner: str, schedule: Schedule, instant: datetime) -> None:
    lasting = schedule.expires_after_periods
    expires_at = None
    if lasting is not None:
        endless = replace(schedule, ends_at=None)
        expires_at = begins_at(endless, schedule.period + lasting)
    state = draft.account(owner)
    assert state is not None
    repaid, repaid_owed = repayment(state, schedule.amount, draft.policy)
    draft.record(
        owner,
        CreditsGranted(
            grant_id=draft.next_id("grt", owner),
            amount=schedule.amount,
            source=schedule.source,
            priority=schedule.priority,
            effective_at=instant,
            expires_at=expires_at,
            unit_cost_micros=schedule.unit_cost_micros,
            restrict_to=schedule.restrict_to,
            repaid=repaid,
            repaid_owed=repaid_owed,
            reference=schedule.reference,
            schedule=schedule.schedule_id,
            period=schedule.period,
            next_period_at=begins_at(schedule, schedule.period + 1),
        ),
    )


def _expire(draft: Draft, owner: str, until: datetime) -> None:
    """End the free part of every lot whose time has come by `until`; some of it rolls over."""
    while True:
        state = draft.account(owner)
        assert state is not None
        due = [lot for lot in state.lots if lot.expires_at and lot.expires_at <= until and lot.free]
        if not due:
            return
        if len(due) > 1:
            due.sort(key=lambda lot: (lot.expires_at or NEVER, burn_key(lot)))
        if not any(lot.schedule for lot in due):
            return _end(draft, owner, due)
        # One instant at a time: what rolls over may expire by `until` itself.
        first = [lot for lot in due if lot.expires_at == due[0].expires_at]
        for lot in first:
            _roll_over(draft, owner, lot)
        after = draft.account(owner)
        assert after is not None
        ids = {lot.grant_id for lot in first}
        _end(draft, owner, [lot for lot in after.lots if lot.grant_id in ids and lot.free])


def _end(draft: Draft, owner: str, lots: list[Lot]) -> None:
    slices = tuple([Slice(lot.grant_id, lot.free) for lot in lots])
    if slices:
        amount = sum([taken.amount for taken in slices])
        draft.record(owner, CreditsExpired(amount=amount, slices=slices))


def _roll_over(draft: Draft, owner: str, lot: Lot) -> None:
    state = draft.account(owner)
    assert state is not None
    assert lot.expires_at is not None
    schedule = next((s for s in state.terms.schedules if s.schedule_id == lot.schedule), None)
    if schedule is None or not schedule.rollover_cap:
        return
    living = sum(
        [
            other.remaining
            for other in state.lots
            if other.kind == "rollover"
            and other.schedule == lot.schedule
            and not other.is_expired(lot.expires_at)
        ]
    )
    amount = min(lot.free, schedule.rollover_cap - living)
    if amount > 0:
        ends_at = next_after(schedule, lot.expires_at)
        rolled = derived_lot(draft, owner, lot, amount, kind="rollover", expires_at=ends_at)
        draft.record(owner, rolled)


def _notice(state: AccountState) -> timedelta | None:
    seconds = state.terms.thresholds.expiry_notice_seconds
    return None if seconds is None else timedelta(seconds=seconds)


def _next_announcement(state: AccountState) -> datetime:
    notice = _notice(state)
    if notice is None:
        return NEVER
    soonest = state.overflow.next_unannounced_at
    for lot in state.lots:
        if lot.expires_at is not None and lot.free and not lot.is_announced:
            soonest = min(soonest, lot.expires_at)
    return NEVER if soonest == NEVER else soonest - notice


def _announce(draft: Draft, owner: str) -> None:
    """Say once per lot that its credits are about to expire."""
    state = draft.account(owner)
    assert state is not None
    if _next_announcement(state) > draft.now:
        return
    notice = _notice(state)
    assert notice is not None
    coming = [
        lot
        for lot in state.lots
        if lot.expires_at is not None
        and lot.free
        and not lot.is_announced
        and lot.expires_at - notice <= draft.now
    ]
    if coming:
        slices = tuple([Slice(lot.grant_id, lot.free) for lot in coming])
        amount = sum([part.amount for part in slices])
        first_at = min([lot.expires_at or NEVER for lot in coming])
        draft.record(owner, ExpiryComing(amount=amount, slices=slices, first_at=first_at))
