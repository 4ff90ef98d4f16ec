"""What holds for every history of an account.

`MemoryLedger` judges each accepted command by itself: the equations hold, the events fold to the
live state, they survive their encoding, they bear the balances after themselves, and the answer
to a keyed command is the balance after it. Playing a history is therefore a proof already.
"""

from __future__ import annotations

from hypothesis import given

from ledger_service.domain.account.balance import available, is_partial, unbooked
from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import HEAD_LOTS_MAX, AccountState
from ledger_service.domain.events import encode, topic_of
from ledger_service.domain.events.account import (
    CreditsDebited,
    DebitRefunded,
)
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import ALICE, BOB, NOON, MemoryLedger
from tests.properties.moves import GRACE_SECONDS, Move, Player, histories, policies
from tests.properties.naive_model import FOREVER, NaiveAccount


@given(policies(), histories())
def test_a_spend_takes_only_what_is_available(policy: Policy, history: list[Move]) -> None:
    """Accepted exactly when what fits suffices; it never makes available negative."""
    player = Player(MemoryLedger(policy))
    for move in history:
        player.ledger.wait(move.wait_seconds)
        before = player.ledger.balances().available
        outcomes = player.play(move._replace(wait_seconds=0))
        if move.kind != "debit":
            continue
        (outcome,) = outcomes
        after = player.ledger.balances().available
        if isinstance(outcome, Refusal):
            assert outcome.fields["available"] < move.terms["amount"]
            assert outcome.fields["available"] <= before
            assert after == before
        else:
            assert after == before - move.terms["amount"] >= 0


@given(policies(), histories())
def test_parking_heads_changes_nothing(policy: Policy, history: list[Move]) -> None:
    """A ledger that keeps 32 lots at hand writes the same bytes as one that keeps them all."""
    parked = Player(MemoryLedger(policy, parks=True))
    whole = Player(MemoryLedger(policy, parks=False))
    for move in history:
        parked.play(move)
        whole.play(move)
        assert len(parked.ledger.head().lots) <= HEAD_LOTS_MAX
        assert parked.ledger.balances() == whole.ledger.balances()
        assert next_due(parked.ledger.head()) == next_due(whole.ledger.head())
        head, now = parked.ledger.head(), parked.ledger.now
        if not is_partial(head, now):
            assert available(head, now) == parked.ledger.balances().available
    assert stored(parked.ledger) == stored(whole.ledger)


@given(policies(), histories())
def test_the_naive_model_agrees(policy: Policy, history: list[Move]) -> None:
    """Balances, refusals and burn order are those of a model that shares no code."""
    player = Player(MemoryLedger(policy))
    grace = GRACE_SECONDS if policy.grace else 0
    naive = NaiveAccount(grace=grace, repays_debt=policy.repay_debt)
    for move in history:
        outcomes = player.play(move)
        for outcome in outcomes:
            play_naively(naive, move, outcome, player.ledger)
        balances = player.ledger.balances()
        assert balances.posted == naive.posted()
        assert balances.debt == naive.debt
        assert balances.available == naive.available(seconds(player.ledger))


@given(policies(), histories())
def test_credits_are_conserved(policy: Policy, history: list[Move]) -> None:
    """Every credit granted is unspent, spent, expired or gone into debt: none is made or lost."""
    player = Player(MemoryLedger(policy))
    for move in history:
        player.play(move)
        state = player.ledger.replayed[ALICE]
        assert state.totals.granted == sum_of(state, "amount", kind="grant")
        assert state.totals.expired == sum_of(state, "expired")
        assert sum_of(state, "moved") == sum_of(state, "amount", kind="grace")
        on_credit, cancelled, restored = credit_sums(player.ledger)
        assert state.overdraft == on_credit - cancelled - sum_of(state, "repaid")
        assert restored == sum_of(state, "amount", kind="restored")
        debited = sum_of(state, "spent") + on_credit - cancelled - restored
        assert state.totals.spent == debited


@given(policies(), histories())
def test_expiry_is_virtual_until_it_is_booked(policy: Policy, history: list[Move]) -> None:
    """Booking what is due changes posted and nothing that can be spent; then nothing is due."""
    player = Player(MemoryLedger(policy))
    for move in history:
        player.play(move)
        before = player.ledger.balances()
        state = player.ledger.account()
        due = unbooked(state, player.ledger.now)
        player.ledger.sweep()
        after = player.ledger.balances()
        assert after == before._replace(posted=before.posted - due)
        booked = len(player.ledger.log)
        player.ledger.sweep()
        assert len(player.ledger.log) == booked
        soonest = next_due(player.ledger.head())
        assert soonest is None or soonest > player.ledger.now


@given(policies(), histories())
def test_refunds_give_back_what_was_taken_and_no_more(policy: Policy, history: list[Move]) -> None:
    """Per debit and per slice, the refunds' sum stays within what was taken; totals run on."""
    player = Player(MemoryLedger(policy))
    for move in history:
        player.play(move)
    refunds = [new.event for new in player.ledger.log if isinstance(new.event, DebitRefunded)]
    for debit_id in player.debits:
        debit = player.ledger.debit_of(ALICE, debit_id)
        assert debit is not None
        mine = [refund for refund in refunds if refund.debit_id == debit_id]
        assert debit.refunded == sum(refund.amount for refund in mine) <= debit.amount
        assert debit.credit_refunded + sum(debit.slices_refunded) == debit.refunded
        assert 0 <= debit.credit_refunded <= debit.on_credit
        taken = [part.amount for part in debit.slices]
        assert all(0 <= b <= t for b, t in zip(debit.slices_refunded, taken, strict=True))
    for refund in refunds:
        in_lots = sum(part.amount for part in refund.slices)
        assert refund.amount == in_lots + refund.debt_cancelled + refund.restored


@given(policies(), histories(20), histories(20))
def test_accounts_do_not_touch_each_other(
    policy: Policy, alices: list[Move], bobs: list[Move]
) -> None:
    """Two accounts in one ledger have the histories that each would have alone."""
    together, alone = MemoryLedger(policy), MemoryLedger(policy)
    alice, bob = Player(together), Player(together, BOB)
    single = Player(alone)
    for mine, theirs in zip(alices, bobs, strict=False):
        bob.play(theirs._replace(wait_seconds=0))
        alice.play(mine)
        single.play(mine)
    assert stored(together, ALICE) == stored(alone, ALICE)


def play_naively(
    naive: NaiveAccount, move: Move, outcome: Decision | Refusal, ledger: MemoryLedger
) -> None:
    """The same move on the model, and the same outcome of it."""
    now = seconds(ledger)
    accepted = isinstance(outcome, Decision)
    terms = move.terms
    if move.kind in ("grant", "burst"):
        start = now + (terms["starts_in"] or 0)
        naive.grant(
            terms["amount"],
            now,
            since=start,
            until=FOREVER if terms["lasts"] is None else start + terms["lasts"],
            priority=terms["priority"],
            bought=terms["source"] == "purchase",
            cost=terms["cost"] or 0,
            only=terms["only"],
        )
    elif move.kind == "debit":
        taken = naive.spend(terms["amount"], terms["tags"], now)
        assert accepted == (taken is not None)
        if isinstance(outcome, Decision):
            assert taken == slices_by_place(ledger, outcome)
    elif move.kind == "refund":
        number = terms["number"] % len(naive.debits)
        left = naive.debits[number]["left"]
        amount = left if terms["amount"] is None else terms["amount"]
        assert accepted == (amount > 0 and naive.refund(number, amount, now))
    elif move.kind == "limit":
        naive.limit = terms["limit"]
        naive.expire(now)
    else:
        naive.expire(now)


def slices_by_place(ledger: MemoryLedger, decision: Decision) -> list[tuple[int, int]]:
    """What a debit took, each lot by its place in the order of making."""
    event = decision.events[-1].event
    assert isinstance(event, CreditsDebited)
    in_order = sorted(lot.grant_id for lot in ledger.replayed[ALICE].lots)
    return [(in_order.index(part.grant_id), part.amount) for part in event.slices]


def sum_of(state: AccountState, part: str, *, kind: str | None = None) -> int:
    """The sum of one part over all lots that ever were, or those of a kind."""
    return sum(getattr(lot, part) for lot in state.lots if kind in (None, lot.kind))


def credit_sums(ledger: MemoryLedger) -> tuple[int, int, int]:
    """Spent on the credit limit, cancelled by refunds, restored by refunds."""
    events = [new.event for new in ledger.log]
    refunds = [event for event in events if isinstance(event, DebitRefunded)]
    on_credit = sum(event.on_credit for event in events if isinstance(event, CreditsDebited))
    return (
        on_credit,
        sum(refund.debt_cancelled for refund in refunds),
        sum(refund.restored for refund in refunds),
    )


def stored(ledger: MemoryLedger, stream: str = ALICE) -> list[tuple[int, str, bytes]]:
    """The exact rows of a stream."""
    rows = [new for new in ledger.log if new.stream == stream]
    return [(new.version, topic_of(new.event), encode(new.event)) for new in rows]


def seconds(ledger: MemoryLedger) -> int:
    """The model's time."""
    return int((ledger.now - NOON).total_seconds())
