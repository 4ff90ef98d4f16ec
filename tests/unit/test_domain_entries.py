"""What events are on a statement, and what bears a reference."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contracts.api.log import Direction
from ledger_service.domain.account.entries import Movement, movement_of, reference_of
from ledger_service.domain.account.terms import Schedule
from ledger_service.domain.bearings import Bearing, bearings_of, changed_holds, uses_of
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent, LotDerived, Slice
from ledger_service.domain.events.clawbacks import GrantClawedBack
from ledger_service.domain.events.holds import HoldAfter, HoldCaptured, HoldPlaced, HoldsReleased
from ledger_service.domain.events.standing import ExpiryComing, SchedulesSet
from tests.fixtures.golden import EVENTS_V1, read

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOLD = HoldAfter(
    hold_id="hld_1", amount=20, status="open", expires_at=NOW, reference="order", created_at=NOW
)


def test_the_entries_of_stored_events_add_up() -> None:
    """Whatever was stored once: signed amounts sum to the balance at each event."""
    posted: dict[str, int] = {}
    for line in read(EVENTS_V1):
        event = decode(line.topic, line.state.encode())
        if isinstance(event, AccountEvent):
            posted[line.stream] = posted.get(line.stream, 0) + movement_of(event).signed
            assert posted[line.stream] == event.posted


@pytest.mark.parametrize("kind", ["grace", "rollover", "transfer", "restored", "reinstated"])
def test_a_derived_lot_is_new_or_moved(kind: str) -> None:
    """What was there before moves nothing; what comes from elsewhere or comes back is a credit."""
    lot = LotDerived(
        grant_id="grt_1",
        kind=kind,
        origin="grt_0",
        amount=7,
        source="promo",
        priority=50,
        effective_at=NOW,
    )
    inside = kind in {"grace", "rollover"}
    assert movement_of(lot) == Movement(7, Direction.NONE if inside else Direction.CREDIT)


def test_a_clawback_goes_both_ways() -> None:
    """It takes, a reversal gives, a stale claim does neither; a claim from above has no name."""
    claim = GrantClawedBack(grant_id="grt_1", reference="dispute", as_of=NOW, claim=9, amount=4)
    assert movement_of(claim) == Movement(4, Direction.DEBIT)
    reversal = GrantClawedBack(
        grant_id="grt_1", reference="grt_0", as_of=NOW, claim=0, amount=4, is_reversal=True
    )
    assert movement_of(reversal) == Movement(4, Direction.CREDIT)
    stale = GrantClawedBack(
        grant_id="grt_1", reference="x", as_of=NOW, claim=3, is_stale=True, origin_owner="t/a"
    )
    assert movement_of(stale) == Movement(0, Direction.NONE)
    assert reference_of(claim) == "dispute"
    assert reference_of(stale) is None
    assert bearings_of(stale) == ()


def test_a_hold_moves_nothing_until_it_is_captured() -> None:
    """It shows its amount; the capture is a debit of what was captured."""
    placed = HoldPlaced(hold=HOLD, slices=(Slice("grt_1", 20),))
    assert movement_of(placed) == Movement(20, Direction.NONE)
    assert uses_of(placed) == ()
    captured = HoldCaptured(hold=HOLD, debit_id="dbt_1", amount=5, slices=(Slice("grt_1", 5),))
    assert movement_of(captured) == Movement(5, Direction.DEBIT)
    assert uses_of(captured) == (Slice("grt_1", 5),)
    assert bearings_of(captured) == (Bearing("order", "debit", "dbt_1", 5),)
    released = HoldsReleased(
        reference="order", holds=(Slice("hld_1", 20), Slice("hld_2", 3)), freed=()
    )
    assert movement_of(released) == Movement(23, Direction.NONE)
    assert changed_holds(released) == ("hld_1", "hld_2")


def test_an_announcement_has_no_amount() -> None:
    """An alert moves nothing, and does not look as if it did."""
    coming = ExpiryComing(amount=5, slices=(Slice("grt_1", 5),), first_at=NOW)
    assert movement_of(coming) == Movement(0, Direction.NONE)


def test_each_schedule_bears_its_own_reference() -> None:
    """One event may name several things, in a fixed order."""
    schedules = tuple(
        Schedule(schedule_id=f"s{n}", amount=n, unit="day", starts_at=NOW, reference=reference)
        for n, reference in ((1, "plan"), (2, None), (3, "plan"))
    )
    assert bearings_of(SchedulesSet(schedules=schedules)) == (
        Bearing("plan", "schedule", "s1", 1),
        Bearing("plan", "schedule", "s3", 3),
    )
