"""What is due is booked at its instant, among all lots, before the command that finds it due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.problems import ProblemCode
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.commands import (
    BookExpiry,
    Command,
    DebitCredits,
    PlaceHold,
    RefundDebit,
    SetLimits,
    SetSchedules,
    SetThresholds,
    TransferCredits,
)
from ledger_service.domain.events.account import CreditsDebited, LotDerived
from ledger_service.domain.events.standing import ExpiryComing
from ledger_service.domain.policy import Policy
from tests.fixtures.worlds import ALICE, BOB, NOON, MemoryLedger, assert_insufficient

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NO_GRACE = Policy(grace=timedelta(0))


def once_a_day(ledger: MemoryLedger, **terms: Any) -> None:
    """10 credits at noon of every day."""
    usual: dict[str, Any] = {"amount": 10, "unit": "day", "starts_at": NOON}
    schedule = Schedule(schedule_id="s", **(usual | terms))
    ledger.do(SetSchedules(owner=ALICE, schedules=(schedule,)))


def rollovers(ledger: MemoryLedger) -> list[LotDerived]:
    """Lots that live on by rollover."""
    made = [new.event for new in ledger.log if isinstance(new.event, LotDerived)]
    return [lot for lot in made if lot.kind == "rollover"]


@pytest.mark.parametrize(
    "command",
    [
        DebitCredits(owner=ALICE, amount=1),
        PlaceHold(owner=ALICE, amount=1),
        TransferCredits(owner=ALICE, to_owner=BOB, amount=1),
    ],
    ids=["debit", "hold", "transfer"],
)
def test_what_expires_now_is_not_spent_now(command: Command) -> None:
    """At `expires_at` itself credits are gone, booked or not; a microsecond before they are not."""
    ends = NOON + HOUR
    for before, is_met in ((timedelta(microseconds=1), True), (timedelta(0), False)):
        ledger = MemoryLedger()
        ledger.open(owner=BOB)
        ledger.grant(1, expires_at=ends)
        ledger.now = ends - before
        if is_met:
            ledger.do(command)
        else:
            assert_insufficient(ledger.refuse(command), available=0, required=1)
            assert ledger.balances().posted == 1, "a refusal books nothing"


@pytest.mark.parametrize("grace", [timedelta(0), DAY])
def test_a_hold_outlives_its_lot(grace: timedelta) -> None:
    """Held credits can be captured after their lot has expired; what is freed then ends."""
    ledger = MemoryLedger(Policy(grace=grace))
    lot = ledger.grant(100, expires_at=NOON + HOUR)
    hold = ledger.hold(60, ttl=DAY)
    ledger.wait(3600)
    debit = ledger.capture(hold, 50)
    found = ledger.lot(lot)
    assert (found.spent, found.held) == (50, 0)
    assert (found.expired, found.moved) == ((40, 10) if grace else (50, 0))
    ledger.refund(debit)
    assert ledger.balances().available == (60 if grace else 0)


def test_a_claim_reaches_what_it_has_itself_rolled_over() -> None:
    """The clawback finds a period over: the claim follows the credits into the rollover lot,
    exactly as after a sweep."""
    for is_swept in (False, True):
        ledger = MemoryLedger()
        ledger.open()
        once_a_day(ledger, rollover_cap=100)
        (lot,) = ledger.account().lots
        ledger.wait(86_400)
        if is_swept:
            ledger.sweep()
        ledger.claw_back(lot.grant_id, 10)
        back = ledger.lot(lot.grant_id).clawback
        assert back is not None
        assert (back.forwarded, back.owed) == (10, 0)
        assert ledger.balances() == (10, 0, 10, 0)


@pytest.mark.parametrize("parks", [True, False])
def test_a_rollover_finds_its_place_among_all_lots(parks: bool) -> None:
    """After the last period too, when nothing is granted with it: lots beyond the head that
    expire earlier burn earlier."""
    ledger = MemoryLedger(parks=parks)
    ledger.open()
    once_a_day(ledger, ends_at=NOON + HOUR, rollover_cap=100, priority=70)
    for _ in range(40):
        ledger.grant(1, priority=70, expires_at=NOON + 1.5 * DAY)
    ledger.wait(86_400)
    ledger.debit(40)
    (rolled,) = rollovers(ledger)
    event = ledger.log[-1].event
    assert isinstance(event, CreditsDebited)
    assert rolled.grant_id not in {part.grant_id for part in event.slices}


@pytest.mark.parametrize("parks", [True, False])
def test_a_notice_covers_lots_beyond_the_head(parks: bool) -> None:
    """Whoever asks to be told of coming expiries is told of all of them at once."""
    ledger = MemoryLedger(parks=parks)
    ledger.open()
    for day in range(40):
        ledger.grant(1, priority=day, expires_at=NOON + (40 - day) * DAY)
    notice = Thresholds(expiry_notice_seconds=10 * 86_400)
    ledger.do(SetThresholds(owner=ALICE, thresholds=notice))
    event = ledger.log[-1].event
    assert isinstance(event, ExpiryComing)
    assert (event.amount, event.first_at) == (10, NOON + DAY)
    ledger.sweep()
    assert ledger.log[-1].event is event


def test_a_claim_follows_credits_however_often_they_have_moved() -> None:
    """To and fro between two accounts, and the last lot is the one that pays."""
    ledger = MemoryLedger()
    lot = ledger.grant(100)
    ledger.open(owner=BOB)
    for hop in range(120):
        here, there = (ALICE, BOB) if hop % 2 == 0 else (BOB, ALICE)
        ledger.transfer(100, owner=here, to=there)
    ledger.claw_back(lot, 100)
    assert ledger.balances() == (0, 0, 0, 0)
    ledger.wait(1)
    ledger.claw_back(lot, 0)
    assert ledger.balances() == (100, 0, 100, 0)


def test_over_a_hundred_missed_periods_are_booked_by_and_by() -> None:
    """One command books 100 grants at most; expired credits do not move meanwhile."""
    ledger = MemoryLedger()
    ledger.open()
    ledger.grant(5)
    ledger.open(owner=BOB)
    once_a_day(ledger)
    ledger.now = NOON + 250 * DAY + HOUR
    ledger.transfer(None)
    assert ledger.balances(BOB) == (5, 0, 5, 0)
    for _ in range(2):
        ledger.sweep()
    assert ledger.balances() == (10, 0, 10, 0)
    assert ledger.do(BookExpiry(owner=ALICE)).events == ()
    assert periods(ledger) == list(range(251))


def test_cumulative_rollover_stops_at_its_cap() -> None:
    """What lives on already counts; each rollover lot ends with the period that begins then."""
    ledger = MemoryLedger()
    ledger.open()
    once_a_day(ledger, rollover_cap=15)
    for day, alive in ((1, 10), (2, 15), (3, 15), (4, 15)):
        ledger.now = NOON + day * DAY
        ledger.sweep()
        living = [lot for lot in ledger.account().lots if lot.kind == "rollover"]
        assert sum(lot.remaining for lot in living) == alive
        assert {lot.expires_at for lot in living} == {NOON + (day + 1) * DAY}
    assert ledger.balances().available == 25


def test_held_credits_do_not_roll_over() -> None:
    """The free part rolls over; the held part stays with its hold and is freed into a grace lot."""
    ledger = MemoryLedger()
    ledger.open()
    once_a_day(ledger, ends_at=NOON + HOUR, rollover_cap=100)
    hold = ledger.hold(4, ttl=2 * DAY)
    ledger.wait(86_400)
    ledger.release(hold)
    assert [lot.amount for lot in rollovers(ledger)] == [6]
    assert ledger.balances() == (10, 0, 10, 0)


def test_a_refund_sees_the_account_as_it_is_now() -> None:
    """Expiry that is due comes first, so the refunded credits alone get the grace."""
    ledger = MemoryLedger()
    lot = ledger.grant(100, expires_at=NOON + HOUR)
    debit = ledger.debit(30)
    ledger.wait(3600)
    ledger.do(RefundDebit(owner=ALICE, debit_id=debit, amount=None))
    assert (ledger.lot(lot).expired, ledger.lot(lot).moved) == (70, 30)


def periods(ledger: MemoryLedger) -> list[int]:
    """The periods that were granted, in the order of the log."""
    found = [getattr(new.event, "period", None) for new in ledger.log]
    return [period for period in found if period is not None]


def test_one_schedule_id_never_grants_the_same_time_twice() -> None:
    """With another calendar, or after it was gone, it goes on after the last period granted."""
    ledger = MemoryLedger()
    ledger.open()
    yearly = Schedule(
        schedule_id="plan", amount=37, unit="year", starts_at=ledger.now - timedelta(days=800)
    )
    weekly = replace(yearly, unit="week", starts_at=ledger.now - timedelta(days=90))

    def granted(*schedules: Schedule) -> int:
        ledger.do(SetSchedules(owner=ALICE, schedules=schedules))
        return ledger.account().totals.granted

    assert granted(yearly) == 3 * 37  # the newest year began 69 days ago
    assert granted(weekly) == 12 * 37  # and nine weeks have begun since, the newest 6 days ago
    assert granted(yearly) == granted() == granted(weekly) == 12 * 37
    ledger.wait(2 * 86_400)
    assert granted(weekly) == 13 * 37


def test_a_limit_that_comes_back_is_no_fresh_start() -> None:
    """What was spent under it while it held still counts after it was gone."""
    ledger = MemoryLedger()
    ledger.grant(100)
    limit = SpendLimit(limit_id="life", amount=50, window="lifetime")
    ledger.do(SetLimits(owner=ALICE, limits=(limit,)))
    ledger.debit(40)
    ledger.do(SetLimits(owner=ALICE, limits=()))
    ledger.do(SetLimits(owner=ALICE, limits=(limit,)))
    refusal = ledger.refuse(DebitCredits(owner=ALICE, amount=11))
    assert (refusal.code, refusal.fields["used"]) == (ProblemCode.SPEND_LIMIT_REACHED, 40)
