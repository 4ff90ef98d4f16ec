"""Refunds undo a debit, and expiry takes what its time has come for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.problems import ProblemCode
from ledger_service.domain.account.balance import unbooked
from ledger_service.domain.account.settle import next_due
from ledger_service.domain.commands import BookExpiry, DebitCredits, RefundDebit
from ledger_service.domain.events.account import (
    AccountEvent,
    CreditsExpired,
    DebitRefunded,
    LotDerived,
    Slice,
)
from ledger_service.domain.ids import locate
from ledger_service.domain.policy import Policy
from tests.fixtures.worlds import (
    ALICE,
    BOB,
    NOON,
    Balances,
    MemoryLedger,
    assert_insufficient,
)

HOUR = timedelta(hours=1)
NO_GRACE = Policy(grace=timedelta(0))


def last_refund(ledger: MemoryLedger) -> DebitRefunded:
    """The newest refund in the log."""
    return [new.event for new in ledger.log if isinstance(new.event, DebitRefunded)][-1]


def test_a_whole_refund_restores_the_balance() -> None:
    """A refund without an amount gives back all that is left, to the lots it came from."""
    ledger = MemoryLedger()
    lot = ledger.grant(100)
    debit = ledger.debit(30)
    ledger.refund(debit)
    assert ledger.balances() == Balances(posted=100, held=0, available=100, debt=0)
    assert (ledger.lot(lot).remaining, ledger.lot(lot).spent) == (100, 0)


def test_partial_refunds_undo_slices_in_reverse_order() -> None:
    """First what was on credit comes back, then the lots from the last one taken."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=10)
    first, second = ledger.grant(10, priority=1), ledger.grant(10, priority=2)
    debit = ledger.debit(25)
    ledger.refund(debit, 3)
    assert last_refund(ledger).slices == ()
    assert last_refund(ledger).debt_cancelled == 3
    ledger.refund(debit, 6)
    assert last_refund(ledger).debt_cancelled == 2
    assert last_refund(ledger).slices == (Slice(second, 4),)
    ledger.refund(debit, 9)
    assert last_refund(ledger).slices == (Slice(second, 6), Slice(first, 3))
    ledger.refund(debit)
    assert last_refund(ledger).slices == (Slice(first, 7),)
    assert last_refund(ledger).slices_refunded == (10, 10)
    assert ledger.balances() == Balances(posted=20, held=0, available=30, debt=0)


def test_refunds_never_exceed_the_debit_in_sum() -> None:
    """Whatever is asked for, nobody gets back more than was taken."""
    ledger = MemoryLedger()
    ledger.grant(100)
    debit = ledger.debit(30)
    ledger.refund(debit, 20)
    refusal = ledger.refuse(RefundDebit(owner=ALICE, debit_id=debit, amount=11))
    assert refusal.code is ProblemCode.REFUND_EXCEEDS_DEBIT
    assert refusal.fields == {"refundable": 10, "requested": 11}
    ledger.refund(debit, 10)
    for amount in (1, None):
        refusal = ledger.refuse(RefundDebit(owner=ALICE, debit_id=debit, amount=amount))
        assert refusal.code is ProblemCode.REFUND_EXCEEDS_DEBIT
    assert ledger.balances().posted == 100


def test_refunds_within_one_batch_see_each_other() -> None:
    """Two refunds of one debit in one transaction give back its amount once."""
    ledger = MemoryLedger()
    ledger.grant(100)
    debit = ledger.debit(30)
    whole = RefundDebit(owner=ALICE, debit_id=debit, amount=None)
    _, second = ledger.batch(whole, whole)
    assert second.code is ProblemCode.REFUND_EXCEEDS_DEBIT  # type: ignore[union-attr]
    assert ledger.balances().posted == 100


def test_a_debit_belongs_to_its_account() -> None:
    """Another account's debit is not found, even when a neighbour in the batch has loaded it."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.grant(1, owner=BOB)
    debit = ledger.debit(30)
    theirs = RefundDebit(owner=ALICE, debit_id=debit, amount=1)
    foreign = RefundDebit(owner=BOB, debit_id=debit, amount=1)
    _, refusal = ledger.batch(theirs, foreign)
    assert refusal.code is ProblemCode.DEBIT_NOT_FOUND  # type: ignore[union-attr]
    assert ledger.balances(BOB) == Balances(posted=1, held=0, available=1, debt=0)


def test_a_debit_has_one_spelling() -> None:
    """An id that decodes to the same place but reads differently is not an id."""
    ledger = MemoryLedger()
    ledger.grant(100)
    debit = ledger.debit(30)
    ledger.refund(debit)
    spellings = [debit[:-1] + last for last in "0123456789abcdefghijklmnopqrstuv"]
    spellings += [debit.upper(), debit[:4] + debit[4:].upper()]
    for spelling in set(spellings) - {debit}:
        refusal = ledger.refuse(RefundDebit(owner=ALICE, debit_id=spelling, amount=None))
        assert refusal.code is ProblemCode.DEBIT_NOT_FOUND, spelling


def test_a_refund_names_a_debit_not_another_event() -> None:
    """The id of something else, dressed up as a debit's, finds nothing."""
    ledger = MemoryLedger()
    lot = ledger.grant(100)
    assert locate("dbt", "dbt" + lot[3:]) is not None
    refusal = ledger.refuse(RefundDebit(owner=ALICE, debit_id="dbt" + lot[3:], amount=None))
    assert refusal.code is ProblemCode.DEBIT_NOT_FOUND


def test_credits_that_return_to_an_expired_lot_get_a_grace_lot() -> None:
    """They live on for the grace time, with the terms of the lot that they came from."""
    ledger = MemoryLedger()
    terms: dict[str, Any] = {"source": "purchase", "unit_cost_micros": 7, "restrict_to": ("video",)}
    lot = ledger.grant(100, expires_at=NOON + HOUR, priority=3, **terms)
    debit = ledger.debit(30, tags=("video",))
    ledger.wait(7200)
    ledger.refund(debit, 20)
    grace = ledger.log[-1].event
    assert isinstance(grace, LotDerived)
    assert (grace.kind, grace.origin, grace.amount) == ("grace", lot, 20)
    assert grace.expires_at == ledger.now + timedelta(days=7)
    assert (grace.source, grace.unit_cost_micros, grace.restrict_to) == tuple(terms.values())
    old = ledger.lot(lot)
    assert (old.remaining, old.spent, old.expired, old.moved) == (0, 10, 70, 20)
    assert ledger.balances() == Balances(posted=20, held=0, available=20, debt=0)
    ledger.wait(7 * 86_400)
    assert ledger.balances().available == 0


def test_without_grace_they_expire_at_once() -> None:
    """With a grace time of zero what returns to an expired lot expires in the same command."""
    ledger = MemoryLedger(NO_GRACE)
    lot = ledger.grant(100, expires_at=NOON + HOUR)
    debit = ledger.debit(30)
    ledger.wait(3600)
    ledger.refund(debit)
    kinds = [type(new.event) for new in ledger.log[-3:]]
    assert kinds == [CreditsExpired, DebitRefunded, CreditsExpired]
    assert ledger.lot(lot).expired == 100
    assert ledger.balances() == Balances(posted=0, held=0, available=0, debt=0)


@pytest.mark.parametrize("grace", [timedelta(0), timedelta(days=7)])
def test_every_event_bears_the_balance_after_itself(grace: timedelta) -> None:
    """The events of one command show a running balance, its answer shows the last one."""
    ledger = MemoryLedger(Policy(grace=grace))
    ledger.grant(100, expires_at=NOON + HOUR)
    debit = ledger.debit(30)
    ledger.wait(3600)
    ledger.refund(debit)
    events = [new.event for new in ledger.log[-3:]]
    assert all(isinstance(event, AccountEvent) for event in events)
    after = 30 if grace else 0
    assert [getattr(event, "posted", None) for event in events] == [0, 30, after]
    answer = last_refund(ledger).command
    assert answer is not None
    assert (answer.posted, answer.available, answer.trailing) == (after, after, 1)


def test_credit_that_was_repaid_meanwhile_comes_back_as_a_restored_lot() -> None:
    """A credit slice cancels overdraft debt; what a grant had repaid becomes a lot again."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.debit(10)
    debit = ledger.debit(30)
    ledger.grant(25)
    assert ledger.balances() == Balances(posted=-15, held=0, available=35, debt=15)
    ledger.refund(debit)
    restored = ledger.log[-1].event
    assert isinstance(restored, LotDerived)
    assert (restored.kind, restored.origin, restored.amount) == ("restored", None, 15)
    assert last_refund(ledger).debt_cancelled == 15
    assert ledger.balances() == Balances(posted=15, held=0, available=65, debt=0)


def test_worked_example_of_limit_grant_and_refund() -> None:
    """Limit 50, grant 10, debit 40, grant 25, refund 40: every balance on the way."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.grant(10)
    debit = ledger.debit(40)
    assert ledger.balances() == Balances(posted=-30, held=0, available=20, debt=30)
    assert_insufficient(
        ledger.refuse(DebitCredits(owner=ALICE, amount=21)), available=20, required=21
    )
    ledger.grant(25)
    assert ledger.balances() == Balances(posted=-5, held=0, available=45, debt=5)
    ledger.refund(debit)
    assert ledger.balances() == Balances(posted=35, held=0, available=85, debt=0)


def test_worked_example_of_expiry_not_yet_swept() -> None:
    """Lot A expires at noon + 1 h: from that instant it is unbooked, and after the sweep gone."""
    ledger = MemoryLedger()
    lot = ledger.grant(100, expires_at=NOON + HOUR)
    ledger.grant(50)
    ledger.debit(60)
    ledger.wait(3599.999999)
    assert ledger.balances() == Balances(posted=90, held=0, available=90, debt=0)
    ledger.wait(0.000001)
    assert unbooked(ledger.account(), ledger.now) == 40
    assert ledger.balances() == Balances(posted=90, held=0, available=50, debt=0)
    assert next_due(ledger.account()) == NOON + HOUR
    ledger.sweep()
    assert ledger.balances() == Balances(posted=50, held=0, available=50, debt=0)
    assert (ledger.lot(lot).expired, ledger.lot(lot).spent) == (40, 60)
    assert next_due(ledger.account()) is None


def test_expiry_takes_the_free_part_only() -> None:
    """What is spent stays spent, and a sweep with nothing due records nothing."""
    ledger = MemoryLedger()
    ledger.grant(100, expires_at=NOON + HOUR)
    ledger.debit(100)
    ledger.wait(3600)
    assert ledger.do(BookExpiry(owner=ALICE)).events == ()
    assert ledger.balances() == Balances(posted=0, held=0, available=0, debt=0)


def test_expiry_leaves_held_credits_to_their_hold() -> None:
    """100 of which 60 are held, and 50 more: at the expiry of the 100 only 40 are unbooked."""
    ledger = MemoryLedger()
    lot = ledger.grant(100, expires_at=NOON + HOUR)
    ledger.grant(50)
    first, second = ledger.account().lots
    ledger.put(replace(ledger.account(), lots=(replace(first, held=60), second)))
    ledger.wait(3600)
    assert unbooked(ledger.account(), ledger.now) == 40
    assert ledger.balances() == Balances(posted=150, held=60, available=50, debt=0)
    ledger.sweep()
    assert (ledger.lot(lot).remaining, ledger.lot(lot).held, ledger.lot(lot).expired) == (
        60,
        60,
        40,
    )
    assert ledger.balances() == Balances(posted=110, held=60, available=50, debt=0)


def test_worked_example_of_limit_and_hold() -> None:
    """The same history with 20 held on credit on the way: available is always less by these."""
    ledger = MemoryLedger()
    ledger.open(credit_limit=50)
    ledger.grant(10)
    debit = ledger.debit(40)
    ledger.put(replace(ledger.account(), held_on_credit=20))
    assert ledger.balances() == Balances(posted=-30, held=20, available=0, debt=30)
    ledger.grant(25)
    assert ledger.balances() == Balances(posted=-5, held=20, available=25, debt=5)
    ledger.refund(debit)
    assert ledger.balances() == Balances(posted=35, held=20, available=65, debt=0)


def test_the_sweep_is_not_called_for_lots_that_merely_start() -> None:
    """Only an expiry makes an account due for the sweep, beyond the head as well."""
    ledger = MemoryLedger()
    for _ in range(32):
        ledger.grant(1, priority=1)
    ledger.grant(5, effective_at=NOON + HOUR)
    ledger.grant(5, expires_at=NOON + 3 * HOUR, effective_at=NOON + 2 * HOUR)
    assert ledger.head().overflow.count == 2
    assert next_due(ledger.head()) == NOON + 3 * HOUR
    ledger.wait(3600)
    assert next_due(ledger.head()) == NOON + 3 * HOUR
    assert ledger.balances().available == 37
    ledger.wait(7200)
    ledger.sweep()
    assert next_due(ledger.head()) is None
    assert ledger.balances() == Balances(posted=37, held=0, available=37, debt=0)


def test_a_refund_finds_a_lot_that_has_left_the_head() -> None:
    """A lot with nothing left is out of the head; a refund brings it back."""
    ledger = MemoryLedger()
    lot = ledger.grant(10)
    debit = ledger.debit(10)
    assert ledger.head().lots == ()
    ledger.refund(debit, 4)
    assert [held.grant_id for held in ledger.head().lots] == [lot]
    assert ledger.balances().available == 4
