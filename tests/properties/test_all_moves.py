"""What holds for three accounts whatever happens to their credits.

`MemoryLedger` judges each accepted command by the equations and by a second fold of its events;
here is what no single command shows.
"""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ledger_service.domain.account import spending
from ledger_service.domain.account.balance import available, is_partial
from ledger_service.domain.account.entries import movement_of
from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import HEAD_LOTS_MAX
from ledger_service.domain.commands import DebitCredits, PlaceHold
from ledger_service.domain.events import encode, topic_of
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.events.standing import ExpiryComing, ThresholdCrossed, ThresholdsSet
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.worlds import MemoryLedger
from tests.properties.all_moves import OWNERS, Move, Player, histories, policies


@given(policies(), histories())
def test_nothing_comes_from_nothing(policy: Policy, history: list[Move]) -> None:
    """What is held is under open holds, what left one account has come to another, and merged
    accounts keep nothing that is free or owed."""
    player = Player(MemoryLedger(policy))
    for move in history:
        for outcome in player.play(move):
            event(f"{move.kind}: {'done' if isinstance(outcome, Decision) else outcome.code}")
        ledger = player.ledger
        came = went = 0
        for owner in OWNERS:
            state = ledger.account(owner)
            open_holds = [h for h in ledger.holds.values() if h.owner == owner and h.is_open]
            assert state.held == sum(held.hold.amount for held in open_holds)
            assert state.held_on_credit == sum(held.on_credit for held in open_holds)
            came += state.totals.transferred_in
            went += state.totals.transferred_out
            if state.merged_into is not None:
                assert state.debt == 0
                assert not any(lot.free for lot in state.lots)
        assert came == went


@given(policies(), histories())
def test_the_short_way_ends_where_the_long_one_does(policy: Policy, history: list[Move]) -> None:
    """Plain spends and holds skip what cannot matter to them: nothing that they do tells."""
    short, long = Player(MemoryLedger(policy)), Player(MemoryLedger(policy))
    for move in history:
        outcomes = short.play(move)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spending, "is_plain", lambda state, now: False)
            assert long.play(move) == outcomes
        assert stored(short.ledger) == stored(long.ledger)


@given(policies(), histories())
def test_parking_and_replaying_change_nothing(policy: Policy, history: list[Move]) -> None:
    """A ledger that keeps 32 lots at hand stores the same bytes as one that keeps them all, and
    owes the same next steps."""
    parked = Player(MemoryLedger(policy))
    whole = Player(MemoryLedger(policy, parks=False))
    for move in history:
        assert [type(outcome) for outcome in parked.play(move)] == [
            type(outcome) for outcome in whole.play(move)
        ]
        assert stored(parked.ledger) == stored(whole.ledger)
        for owner in OWNERS:
            head, now = parked.ledger.head(owner), parked.ledger.now
            assert len(head.lots) <= HEAD_LOTS_MAX
            assert parked.ledger.balances(owner) == whole.ledger.balances(owner)
            assert next_due(head) == next_due(whole.ledger.head(owner))
            if not is_partial(head, now):
                assert available(head, now) == parked.ledger.balances(owner).available


@given(policies(), histories(40), st.integers(2, 6))
def test_one_transaction_and_many_come_to_the_same(
    policy: Policy, history: list[Move], size: int
) -> None:
    """Commands that share a batch see each other as they would one after the other."""
    together, apart = Player(MemoryLedger(policy)), Player(MemoryLedger(policy))
    for first in range(0, len(history), size):
        moves = history[first : first + size]
        wait = sum(move.wait_seconds for move in moves)
        for player in (together, apart):
            player.play(Move(wait, "expire_holds", 0, {}))
        together.ledger.batch(*[command for move in moves for command in together.asked(move)])
        for command in [command for move in moves for command in apart.asked(move)]:
            apart.ledger.batch(command)
        assert stored(together.ledger) == stored(apart.ledger)


@given(policies(), histories())
def test_a_statement_adds_up(policy: Policy, history: list[Move]) -> None:
    """The amounts of an account's entries, each by its direction, add up to its balance."""
    player = Player(MemoryLedger(policy))
    for move in history:
        player.play(move)
    posted = dict.fromkeys(OWNERS, 0)
    for new in player.ledger.log:
        if isinstance(new.event, AccountEvent):
            posted[new.owner] += movement_of(new.event).signed
            assert posted[new.owner] == new.event.posted


@given(policies(), histories())
def test_a_refusal_changes_nothing_and_a_spend_makes_no_debt_unasked(
    policy: Policy, history: list[Move]
) -> None:
    """A spend leaves something available or nothing; what is refused leaves everything."""
    player = Player(MemoryLedger(policy))
    ledger = player.ledger
    for move in history:
        ledger.wait(move.wait_seconds)
        for command in player.asked(move):
            before = {owner: ledger.balances(owner) for owner in OWNERS}
            logged = len(ledger.log)
            (outcome,) = ledger.batch(command)
            if isinstance(outcome, Refusal):
                assert len(ledger.log) == logged
                assert before == {owner: ledger.balances(owner) for owner in OWNERS}
            elif isinstance(command, DebitCredits | PlaceHold):
                assert ledger.balances(command.owner).available >= 0
        player.play(Move(0, "sweep", 0, {}))


@given(policies(), histories())
def test_alerts_tell_the_truth_once(policy: Policy, history: list[Move]) -> None:
    """Crossings of a level alternate and are what the balance says after each command; of each
    lot it is said once that it expires."""
    player = Player(MemoryLedger(policy))
    ledger = player.ledger
    below: dict[tuple[str, int], bool] = {}
    told: set[str] = set()
    seen = 0
    for move in history:
        touched = {
            owner
            for outcome in player.play(move)
            if isinstance(outcome, Decision)
            for owner in outcome.accounts
        }
        for new in ledger.log[seen:]:
            if isinstance(new.event, ThresholdsSet):
                for level in new.event.thresholds.low_balance:
                    below[new.owner, level] = level in new.event.below
            elif isinstance(new.event, ThresholdCrossed):
                assert below[new.owner, new.event.level] is not new.event.is_below
                below[new.owner, new.event.level] = new.event.is_below
            elif isinstance(new.event, ExpiryComing):
                lots = {part.grant_id for part in new.event.slices}
                assert not lots & told
                told |= lots
        seen = len(ledger.log)
        for owner in touched:
            state, now_available = ledger.account(owner), ledger.balances(owner).available
            for level in state.terms.thresholds.low_balance:
                assert below[owner, level] == (now_available < level)


def stored(ledger: MemoryLedger) -> list[tuple[str, int, str, bytes]]:
    """The exact rows of the log."""
    return [
        (
            new.stream,
            new.version,
            topic_of(new.event),
            encode(new.event).replace(b',"kind":"grant"', b""),
        )
        for new in ledger.log
    ]
