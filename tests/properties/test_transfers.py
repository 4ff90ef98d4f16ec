"""Credits on their way between accounts: none is made, none is lost, none stays behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ledger_service.domain.commands import (
    ChangeCreditLimit,
    Command,
    ExpireHold,
    TransferCredits,
)
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision
from tests.fixtures.generating import FAILED, SUBMITTED, SUCCEEDED, Generating
from tests.fixtures.worlds import ALICE, BOB, CAROL, NOON, MemoryLedger

OWNERS = (ALICE, BOB, CAROL)
DAY = timedelta(days=1)
GRACES = [timedelta(0), timedelta(days=7)]


def all_posted(ledger: MemoryLedger) -> int:
    """What all accounts have together."""
    return sum(ledger.balances(owner).posted for owner in OWNERS)


def expired(ledger: MemoryLedger) -> int:
    """What has expired on all of them."""
    return sum(ledger.account(owner).totals.expired for owner in OWNERS)


def three_accounts(policy: Policy | None = None) -> MemoryLedger:
    """With 100 credits each: bought, given, and about to expire."""
    ledger = MemoryLedger(policy or Policy())
    ledger.grant(100, source="purchase", owner=ALICE)
    ledger.grant(100, restrict_to=("video",), owner=BOB)
    ledger.grant(100, expires_at=NOON + DAY, owner=CAROL)
    return ledger


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 2), st.one_of(st.none(), st.integers(1, 130))),
        min_size=2,
        max_size=20,
    )
)
def test_one_batch_and_many_come_to_the_same(drawn: list[tuple[int, int, int | None]]) -> None:
    """Transfers in all directions at once, in one transaction or each in its own."""
    together, apart = three_accounts(), three_accounts()
    wanted: list[Command] = [
        TransferCredits(
            owner=OWNERS[source], to_owner=OWNERS[(source + further) % 3], amount=amount
        )
        for source, further, amount in drawn
    ]
    outcomes = together.batch(*wanted)
    others = [outcome for command in wanted for outcome in apart.batch(command)]
    assert [new.event for new in together.log] == [new.event for new in apart.log]
    assert [type(outcome) for outcome in outcomes] == [type(outcome) for outcome in others]
    assert all_posted(together) == 300
    for owner in OWNERS:
        assert together.balances(owner) == apart.balances(owner)


def _expire(generation: Generating) -> None:
    for _ in range(2):  # the deadline, then the time that a verdict is waited for
        generation.pass_deadline()


Ending = Callable[[Generating], object]
ENDINGS: dict[str, Ending] = {
    "failed": lambda generation: generation.report(FAILED),
    "succeeded": lambda generation: generation.report(SUCCEEDED),
    "expired": _expire,
}


@given(
    st.sampled_from(GRACES),
    st.lists(st.sampled_from(["release", "capture", "expire"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(sorted(ENDINGS)), min_size=1, max_size=3),
    st.integers(0, 150),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_merged_account_ends_at_zero(
    grace: timedelta,
    holds: list[str],
    generations: list[str],
    credit: int,
    is_chain: bool,
    is_late: bool,
    random: Random,
) -> None:
    """Once every hold and generation has ended, everything is with the account it was merged
    into, over several merges and past expiry as well."""
    ledger = MemoryLedger(Policy(grace=grace))
    ledger.open(credit_limit=200)
    ledger.grant(60, expires_at=NOON + timedelta(hours=1))
    ledger.grant(100 - credit % 60)
    for owner in (BOB, CAROL):
        ledger.open(owner=owner)
    running = [(Generating(ledger, price=20), how) for how in generations]
    for generation, _ in running:
        generation.claim()
        generation.report(SUBMITTED)
    open_holds = [(ledger.hold(30, ttl=DAY), how) for how in holds]
    merge(ledger, ALICE, BOB)
    if is_chain:
        merge(ledger, BOB, CAROL)
    home = CAROL if is_chain else BOB
    ledger.wait(3_600 if is_late else 1)
    before = all_posted(ledger) + expired(ledger)
    steps: list[tuple[str | Generating, str]] = [*open_holds, *running]
    random.shuffle(steps)
    for thing, how in steps:
        if isinstance(thing, Generating):
            ENDINGS[how](thing)
        else:
            end_hold(ledger, thing, how)
        for owner in {ALICE, BOB, CAROL} - {home}:
            state = ledger.account(owner)
            assert state.debt == 0
            assert not any(lot.free for lot in state.lots)
    for owner in {ALICE, BOB, CAROL} - {home}:
        assert ledger.balances(owner) == (0, 0, 0, 0)
    captured = 10 * sum(ledger.holds[h].hold.status == "captured" for h, _ in open_holds)
    refunded = sum(20 for _, how in running if how != "succeeded")
    assert all_posted(ledger) == before - captured + refunded - expired(ledger)


def merge(ledger: MemoryLedger, owner: str, to: str) -> None:
    """Merge one account into another."""
    ledger.transfer(None, owner=owner, to=to, is_merge=True)


def end_hold(ledger: MemoryLedger, hold_id: str, how: str) -> None:
    """Release it, capture 10 of it, or let it expire."""
    if how == "release":
        ledger.release(hold_id)
    elif how == "capture":
        ledger.capture(hold_id, 10)
    else:
        ledger.now = max(ledger.now, ledger.holds[hold_id].hold.expires_at)
        ledger.do(ExpireHold(owner=ALICE, hold_id=hold_id))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100), st.booleans())
def test_a_claim_finds_credits_two_accounts_away(
    spent_first: int, spent_last: int, claimed: int, is_merge: bool
) -> None:
    """A→B→C by transfer or by merge: what is left there is taken, the rest is owed by somebody,
    and what the claim takes in all is the claim."""
    ledger = MemoryLedger()
    lot = ledger.grant(100)
    for owner in (BOB, CAROL):
        ledger.open(owner=owner)
    if spent_first:
        ledger.debit(spent_first)
    for source, target in ((ALICE, BOB), (BOB, CAROL)):
        if is_merge:
            merge(ledger, source, target)
        elif spent_first < 100:
            ledger.transfer(None, owner=source, to=target)
    there = ledger.balances(CAROL).available
    if used := min(spent_last, there):
        ledger.debit(used, owner=CAROL)
    ledger.claw_back(lot, claimed)
    assert all_posted(ledger) == 100 - spent_first - used - claimed
    taken = min(claimed, there - used)
    assert ledger.balances(CAROL).available <= there - used - taken
    assert sum(ledger.balances(owner).debt for owner in OWNERS) == claimed - taken
    if is_merge:
        assert ledger.balances(CAROL).debt == claimed - taken


@given(st.integers(1, 200), st.integers(0, 200), st.booleans())
def test_debt_holds_back_what_could_be_moved(owed: int, granted: int, is_repaid: bool) -> None:
    """Nothing moves on credit, and never more than is left when debt is taken off."""
    ledger = MemoryLedger(Policy(repay_debt=is_repaid))
    ledger.open(credit_limit=200)
    ledger.open(owner=BOB)
    ledger.debit(owed)
    if granted:
        ledger.grant(granted)
    most = max(0, granted - owed)
    for amount, fits in ((most + 1, False), (most, most > 0), (None, False)):
        command = TransferCredits(owner=ALICE, to_owner=BOB, amount=amount)
        if amount == 0:
            continue
        (outcome,) = ledger.batch(command)
        assert isinstance(outcome, Decision) == fits
    assert ledger.balances(BOB).posted == most
    ledger.do(ChangeCreditLimit(owner=ALICE, credit_limit=0))
