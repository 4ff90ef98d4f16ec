"""Recurring grants: each period once, whoever is silent for however long."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ledger_service.domain.account.calendar import begins_at
from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.account.terms import Schedule
from ledger_service.domain.commands import BookExpiry, Command, DebitCredits, SetSchedules
from ledger_service.domain.events.account import CreditsGranted, LotDerived
from tests.fixtures.worlds import ALICE, NOON, MemoryLedger, granting

Steps = list[tuple[float, str]]


def schedules() -> st.SearchStrategy[Schedule]:
    """Every kind, begun in the past, now or soon."""
    return st.builds(
        Schedule,
        schedule_id=st.just("s"),
        amount=st.integers(1, 50),
        unit=st.sampled_from(["day", "week", "month", "year"]),
        every=st.integers(1, 3),
        starts_at=st.integers(-130, 40).map(lambda days: NOON + timedelta(days=days)),
        ends_at=st.sampled_from([None, None, NOON + timedelta(days=90)]),
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
        expires_after_periods=st.sampled_from([None, 1, 1, 2, 3]),
        rollover_cap=st.sampled_from([0, 30, 10_000]),
    )


def lives() -> st.SearchStrategy[Steps]:
    """Waits of hours, months and years, each before something small."""
    waits = st.sampled_from([0.04, 0.5, 1, 7, 31, 130])
    return st.lists(
        st.tuples(waits, st.sampled_from(["sweep", "debit", "grant", "again"])), max_size=8
    )


def command_of(step: str, plan: Schedule) -> Command:
    """A sweep, a spend, a grant, or the same schedule again."""
    if step == "debit":
        return DebitCredits(owner=ALICE, amount=7)
    if step == "grant":
        return granting(3)
    if step == "again":
        return SetSchedules(owner=ALICE, schedules=(plan,))
    return BookExpiry(owner=ALICE)


def live(plan: Schedule, steps: Steps) -> MemoryLedger:
    """An account with the schedule, and what happens on it."""
    ledger = MemoryLedger(is_witnessed=False)  # other properties judge every command
    ledger.open()
    ledger.do(SetSchedules(owner=ALICE, schedules=(plan,)))
    for days, step in steps:
        ledger.now += timedelta(days=days)
        ledger.batch(command_of(step, plan))
    while (due := next_due(ledger.head())) is not None and due <= ledger.now:
        ledger.sweep()
    return ledger


def granted(ledger: MemoryLedger) -> list[CreditsGranted]:
    """The schedule's grants in the order of the log."""
    found = [new.event for new in ledger.log if isinstance(new.event, CreditsGranted)]
    return [event for event in found if event.schedule is not None]


@given(schedules(), lives())
def test_each_period_is_granted_once(plan: Schedule, steps: Steps) -> None:
    """All that have begun, in their order, each with the instants that the calendar says."""
    ledger = live(plan, steps)
    expected = 0
    while (at := begins_at(plan, expected)) is not None and at <= ledger.now:
        expected += 1
    found = granted(ledger)
    assert [event.period for event in found] == list(range(expected))
    for number, event in enumerate(found):
        assert event.effective_at == begins_at(plan, number)
        assert event.next_period_at == begins_at(plan, number + 1)


@given(schedules(), st.lists(st.sampled_from([0.5, 1, 7, 31]), max_size=5))
def test_silence_and_diligence_come_to_the_same(plan: Schedule, waits: list[float]) -> None:
    """Sweeping now and then, or once at the end, leaves the same lots."""
    often = live(plan, [(days, "sweep") for days in waits])
    once = live(plan, [(sum(waits), "sweep")])
    assert often.now == once.now
    assert often.balances() == once.balances()
    assert terms_of(often.account()) == terms_of(once.account())


@given(schedules(), st.lists(st.sampled_from([0.5, 1, 7, 31]), max_size=5))
def test_no_more_than_the_cap_lives_on(plan: Schedule, waits: list[float]) -> None:
    """At every rollover, all rollover lots that are alive then stay within the cap together."""
    ledger = live(plan, [(days, "sweep") for days in waits])
    derived = [new.event for new in ledger.log if isinstance(new.event, LotDerived)]
    assert {lot.kind for lot in derived} <= {"rollover"}
    for lot in derived:
        began = lot.effective_at
        alive = [o for o in derived if o.effective_at <= began < (o.expires_at or began)]
        assert lot in alive
        assert sum(other.amount for other in alive) <= plan.rollover_cap


def terms_of(state: AccountState) -> list[tuple[object, ...]]:
    """Every live lot, without its id, in the order of their making."""
    made = sorted(state.lots, key=lambda lot: lot.grant_id)
    return [
        (lot.kind, lot.amount, lot.remaining, lot.expired, lot.moved, lot.effective_at)
        for lot in made
    ]
