"""What a generation does to credits: one debit, and at most one compensating refund."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from contracts.api.accounts import AccountStatus
from contracts.api.generations import GenerationStatus
from contracts.problems import ProblemCode
from ledger_service.domain import commands
from ledger_service.domain.commands import Key
from ledger_service.domain.events.account import (
    CommandAccepted,
    CreditsDebited,
    CreditsExpired,
    DebitRefunded,
    LotDerived,
)
from ledger_service.domain.events.generation import GenerationRequested
from ledger_service.domain.ids import version_in
from tests.fixtures.generating import (
    CANCELLED,
    COMPLETED,
    FAILED,
    REFUSED,
    SUBMITTED,
    SUCCEEDED,
    Generating,
    paid_generation,
    requesting,
    submitted_generation,
)
from tests.fixtures.worlds import ALICE, NOON, Balances, MemoryLedger, assert_insufficient

HOUR = timedelta(hours=1)


def fail(generation: Generating) -> None:
    """The provider says no."""
    generation.claim()
    generation.report(SUBMITTED)
    generation.report(FAILED)


def be_refused(generation: Generating) -> None:
    """The provider never takes it, and asking again would not help."""
    generation.claim()
    generation.report(REFUSED)


def be_cancelled(generation: Generating) -> None:
    """The provider ended it because someone asked."""
    generation.claim()
    generation.report(SUBMITTED)
    generation.report(CANCELLED)


def expire(generation: Generating) -> None:
    """No worker ever came."""
    generation.pass_deadline()


ENDINGS: dict[Callable[[Generating], None], GenerationStatus] = {
    fail: GenerationStatus.FAILED,
    be_refused: GenerationStatus.FAILED,
    be_cancelled: GenerationStatus.CANCELLED,
    expire: GenerationStatus.EXPIRED,
}


def refunds(ledger: MemoryLedger) -> list[DebitRefunded]:
    """All refunds in the log."""
    return [new.event for new in ledger.log if isinstance(new.event, DebitRefunded)]


def test_the_debit_and_the_request_are_one_decision() -> None:
    """The price is debited with the request; one event names the debit and the generation."""
    ledger = MemoryLedger()
    ledger.grant(100)
    decision = ledger.do(requesting(40, key=ledger.key(), reference="order-1"))
    debited, requested = (new.event for new in decision.events)
    assert isinstance(debited, CreditsDebited)
    assert isinstance(requested, GenerationRequested)
    assert (debited.amount, requested.price) == (40, 40)
    assert (debited.generation_id, requested.debit_id) == (
        requested.generation_id,
        debited.debit_id,
    )
    assert version_in("gen", requested.generation_id, ALICE) == 3
    assert version_in("dbt", debited.debit_id, ALICE) == 3
    assert requested.deadline == NOON + timedelta(minutes=10)
    assert ledger.balances().available == 60


def test_a_generation_that_cannot_be_paid_does_not_begin() -> None:
    """402 with the true numbers, and nothing is recorded."""
    ledger = MemoryLedger()
    ledger.grant(30)
    ledger.grant(20, restrict_to=("image",))
    events = len(ledger.log)
    assert_insufficient(ledger.refuse(requesting(40)), available=30, required=40)
    assert len(ledger.log) == events
    assert ledger.jobs == {}


def test_a_free_generation_has_no_debit() -> None:
    """A price of 0 records the accepted command instead, and its end refunds nothing."""
    ledger = MemoryLedger()
    ledger.open()
    generation = Generating(ledger, price=0)
    assert isinstance(ledger.log[-2].event, CommandAccepted)
    assert generation.state.debit_id is None
    expire(generation)
    assert generation.status is GenerationStatus.EXPIRED
    assert refunds(ledger) == []


def test_due_expiry_is_booked_before_the_charge() -> None:
    """Expired credits pay for nothing; the debit's id still names the debit's own event."""
    ledger = MemoryLedger()
    ledger.grant(100, expires_at=NOON + HOUR)
    ledger.grant(50)
    ledger.wait(3600)
    generation = Generating(ledger)
    kinds = [type(new.event) for new in ledger.log[-3:]]
    assert kinds == [CreditsExpired, CreditsDebited, GenerationRequested]
    assert generation.debit.amount == 40
    assert ledger.balances() == Balances(posted=10, held=0, available=10, debt=0)


def test_success_lets_the_debit_stand() -> None:
    """A verified asset is what was paid for: nothing moves at the end."""
    generation = paid_generation()
    generation.claim()
    for report in (SUBMITTED, COMPLETED, SUCCEEDED):
        generation.report(report)
    assert generation.status is GenerationStatus.SUCCEEDED
    assert generation.ledger.balances().posted == 60
    assert refunds(generation.ledger) == []


@pytest.mark.parametrize("end", ENDINGS)
def test_every_other_ending_refunds_in_the_same_decision(
    end: Callable[[Generating], None],
) -> None:
    """Failed, cancelled and expired give back the whole price, under the system's key."""
    generation = paid_generation()
    end(generation)
    assert generation.status is ENDINGS[end]
    (refund,) = refunds(generation.ledger)
    assert (refund.amount, refund.generation_id) == (40, generation.generation_id)
    assert (generation.state.refund_id, generation.state.refunded) == (refund.refund_id, 40)
    bearer = next(new for new in generation.ledger.log if new.event is refund)
    assert bearer.key == Key("s", f"refund:{generation.generation_id}")
    assert generation.ledger.balances() == Balances(posted=100, held=0, available=100, debt=0)


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("by_hand", [15, 40])
def test_only_what_is_left_of_the_debit_is_refunded(
    end: Callable[[Generating], None], by_hand: int
) -> None:
    """What someone refunded before is not refunded again."""
    generation = paid_generation()
    generation.ledger.refund(generation.debit.debit_id, by_hand)
    end(generation)
    assert generation.state.refunded == 40 - by_hand
    assert (generation.state.refund_id is None) == (by_hand == 40)
    assert [refund.amount for refund in refunds(generation.ledger)] == [
        amount for amount in (by_hand, 40 - by_hand) if amount
    ]
    assert generation.ledger.balances().posted == 100


def test_nothing_is_left_to_refund_by_hand_after_the_compensation() -> None:
    """The compensation is a refund of the same debit: its bound holds for both together."""
    generation = paid_generation()
    fail(generation)
    refusal = generation.ledger.refuse(
        _refund_of(generation),
    )
    assert refusal.code is ProblemCode.REFUND_EXCEEDS_DEBIT


def test_late_success_moves_nothing() -> None:
    """Success after the refund is our cost: kept as a fact, once, and never charged."""
    generation = submitted_generation()
    generation.report(FAILED)
    before = generation.ledger.balances()
    assert generation.report(SUCCEEDED).accepted
    assert not generation.report(SUCCEEDED).accepted
    assert generation.kinds[-2:] == ["GenerationFailed", "LateFactRecorded"]
    assert generation.status is GenerationStatus.FAILED
    assert generation.state.asset is None
    assert generation.ledger.balances() == before


def test_late_failure_after_success_moves_nothing() -> None:
    """The first verdict stands: a later one changes neither status nor money."""
    generation = submitted_generation()
    generation.report(SUCCEEDED)
    assert not generation.report(FAILED).accepted
    assert generation.status is GenerationStatus.SUCCEEDED
    assert generation.ledger.balances().posted == 60


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
def test_compensation_comes_whatever_the_accounts_status(status: AccountStatus) -> None:
    """Freezing or closing an account keeps nobody's credits."""
    generation = submitted_generation()
    generation.ledger.stand(status)
    generation.report(FAILED)
    assert generation.ledger.balances().posted == 100


def test_compensation_to_an_expired_lot_goes_to_a_grace_lot() -> None:
    """Credits that expired while the generation ran are spendable again after its failure."""
    ledger = MemoryLedger()
    ledger.grant(40, expires_at=NOON + timedelta(seconds=30))
    generation = Generating(ledger)
    generation.claim()
    generation.report(SUBMITTED)
    ledger.wait(30)
    generation.report(FAILED)
    assert [type(new.event) for new in ledger.log[-3:-1]] == [DebitRefunded, LotDerived]
    assert ledger.balances().available == 40


def _refund_of(generation: Generating) -> commands.RefundDebit:
    return commands.RefundDebit(owner=ALICE, debit_id=generation.debit.debit_id, amount=1)
