"""Freezing, closing, terms and policies: what changes no balance."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.balance import available
from ledger_service.domain.account.calendar import begins_at, first_after
from ledger_service.domain.account.settle import need_of_lots, settle, settle_first
from ledger_service.domain.account.standing import (
    NO_SUCH_ACCOUNT,
    Movement,
    refusal_by_status,
)
from ledger_service.domain.account.terms import Schedule
from ledger_service.domain.commands import (
    ChangeStanding,
    Command,
    SetLimits,
    SetPolicy,
    SetSchedules,
    SetThresholds,
    VoidCommand,
)
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import AccountEvent, CommandVoided
from ledger_service.domain.events.policy import PolicySet
from ledger_service.domain.events.standing import (
    AccountClosed,
    AccountFrozen,
    AccountUnfrozen,
    LimitsSet,
    SchedulesSet,
    StandingChanged,
    ThresholdsSet,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.world import Need, Outcome, Refusal, World

_EVENTS: Final[dict[AccountStatus, type[StandingChanged]]] = {
    AccountStatus.FROZEN: AccountFrozen,
    AccountStatus.ACTIVE: AccountUnfrozen,
    AccountStatus.CLOSED: AccountClosed,
}


def decide_standing(world: World, command: ChangeStanding, now: datetime) -> Outcome:
    """Closed and merged accounts stay what they are."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if state.status in {AccountStatus.CLOSED, AccountStatus.MERGED}:
        refusal = refusal_by_status(state, Movement.SPEND)
        assert refusal is not None
        return refusal
    event = _EVENTS[command.status](reason=command.reason, private=command.private)
    return _record(world, command, now, event)


def decide_schedules(world: World, command: SetSchedules, now: datetime) -> Outcome:
    """A schedule goes on after what was ever granted under its id, whatever became of its
    calendar; a new one begins with its first period."""
    begun = _settled(world, command, now, adds_lot=True)  # they may grant at once
    if not isinstance(begun, Draft):
        return begun
    state = begun.account(command.owner)
    assert state is not None
    if refusal := refusal_by_status(state, Movement.GRANT):
        return refusal
    if state.merged_into is not None:
        return refusal_by_status(state, Movement.SPEND) or NO_SUCH_ACCOUNT
    until = state.terms.granted_until
    schedules = [_continued(wanted, until.get(wanted.schedule_id)) for wanted in command.schedules]
    begun.record(command.owner, SchedulesSet(schedules=tuple(schedules)))
    settle(begun, command.owner)
    return finish(begun, shows=command.owner)


def _continued(wanted: Schedule, granted_until: datetime | None) -> Schedule:
    period = first_after(wanted, granted_until) if granted_until else 0
    return replace(wanted, period=period, next_at=begins_at(wanted, period))


def decide_thresholds(world: World, command: SetThresholds, now: datetime) -> Outcome:
    """What the balance is below already is no crossing."""
    begun = _settled(world, command, now, adds_lot=True)  # any lot may have to be announced
    if not isinstance(begun, Draft):
        return begun
    state = begun.account(command.owner)
    assert state is not None
    now_available = available(state, now)
    below = sorted(level for level in command.thresholds.low_balance if now_available < level)
    event = ThresholdsSet(thresholds=command.thresholds, below=tuple(below))
    begun.record(command.owner, event)
    settle(begun, command.owner)  # what expires soon may have to be told at once
    return finish(begun, shows=command.owner)


def decide_limits(world: World, command: SetLimits, now: datetime) -> Outcome:
    """What was spent in the running windows still counts."""
    return _record(world, command, now, LimitsSet(limits=command.limits))


def decide_policy(world: World, command: SetPolicy, now: datetime) -> Outcome:
    """It holds for what is decided from now on."""
    draft = Draft(world, command, now)
    state = draft.record_policy(PolicySet(policy=command.policy))
    return finish(draft, result=state)


def decide_void_command(world: World, command: VoidCommand, now: datetime) -> Outcome:
    """The engine has looked the key up before: nothing was done under it."""
    return _record(world, command, now, CommandVoided())


def _record(world: World, command: Command, now: datetime, event: AccountEvent) -> Outcome:
    begun = _settled(world, command, now)
    if not isinstance(begun, Draft):
        return begun
    begun.record(command.owner, event)
    if command.key is not None:
        begun.answer_here()
    return finish(begun, shows=command.owner)


def _settled(
    world: World, command: Command, now: datetime, *, adds_lot: bool = False
) -> Draft | Need | Refusal:
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now, adds_lot=adds_lot):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    return draft
