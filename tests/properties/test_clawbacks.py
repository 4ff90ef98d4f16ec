"""Claims may come in any order and any number of times: in the end all agree (decision 9)."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ledger_service.domain.account.state import Lot
from ledger_service.domain.commands import ChangeCreditLimit, VoidGrant
from ledger_service.domain.policy import Policy
from tests.fixtures.worlds import ALICE, BOB, NOON, Balances, MemoryLedger

HOUR = timedelta(hours=1)
GRANTED = 100


class Claiming(NamedTuple):
    """A claim on the lot: what a store says under a reference as of an instant."""

    reference: str
    as_of: int
    amount: int


class Situation(NamedTuple):
    """What has become of a lot of 100 when the first claim comes. What does not fit is left out."""

    spent: int
    held: int
    moved: int
    moved_twice: int
    spent_there: int
    back: int
    ending: str
    grace: bool
    repay_debt: bool


class Parts(NamedTuple):
    """A lot's parts; letters as in the equations."""

    g: int
    r: int
    h: int
    s: int
    x: int
    v: int
    c: int
    t: int
    a: int
    q: int
    y: int
    f: int


def claims() -> st.SearchStrategy[list[Claiming]]:
    """Several references, several instants, some of them equal."""
    amounts = st.one_of(st.integers(0, GRANTED), st.sampled_from([0, 50, GRANTED]))
    one = st.builds(Claiming, st.sampled_from(["a", "b", "c"]), st.integers(0, 3), amounts)
    return st.lists(one, min_size=2, max_size=5)


def situations() -> st.SearchStrategy[Situation]:
    """Free, held, spent, moved and derived, ended or not."""
    part = st.one_of(st.just(0), st.integers(0, 60))
    endings = st.sampled_from(["none", "none", "expired", "voided"])
    return st.builds(
        Situation, part, part, part, part, part, part, endings, st.booleans(), st.booleans()
    )


class Story:
    """One ledger in which a situation came about."""

    def __init__(self, situation: Situation) -> None:
        grace = timedelta(days=7) if situation.grace else timedelta(0)
        self.ledger = MemoryLedger(Policy(grace=grace, repay_debt=situation.repay_debt))
        self.lot = self.ledger.grant(GRANTED, expires_at=NOON + HOUR, source="purchase")
        self.ledger.open(owner=BOB)
        self.debit = self._spend(situation.spent)
        self.hold = ""
        if held := min(situation.held, self.free):
            self.hold = self.ledger.hold(held, ttl=timedelta(days=1))
        for wanted in (situation.moved, situation.moved_twice):
            if amount := min(wanted, self.free):
                self.ledger.transfer(amount)
        theirs = self.ledger.balances(BOB).available
        if amount := min(situation.spent_there, theirs):
            self.ledger.debit(amount, owner=BOB)
        if amount := min(situation.back, theirs - amount):
            self.ledger.transfer(amount, owner=BOB, to=ALICE)
        self.end(situation.ending)

    @property
    def free(self) -> int:
        """Credits of the lot that nothing has taken yet."""
        return self.ledger.balances().available

    def _spend(self, wanted: int) -> str:
        amount = min(wanted, self.free)
        return self.ledger.debit(amount) if amount else ""

    def end(self, how: str) -> None:
        """The lot expires, or is voided."""
        if how == "expired":
            self.ledger.wait(3600)
            self.ledger.sweep()
            self.ledger.sweep(owner=BOB)
        elif how == "voided":
            self.ledger.do(VoidGrant(owner=ALICE, grant_id=self.lot))

    def claim(self, claim: Claiming) -> None:
        """Something that a store says."""
        self.ledger.claw_back(
            self.lot,
            claim.amount,
            reference=claim.reference,
            as_of=NOON + timedelta(seconds=claim.as_of),
        )

    def outcome(self) -> dict[str, Any]:
        """By account the balances, and every lot's parts in the order of their making."""
        found: dict[str, Any] = {}
        for owner in (ALICE, BOB):
            balances = self.balances(owner)
            lots = sorted(self.ledger.replayed[owner].lots, key=lambda lot: lot.grant_id)
            found[owner] = balances, [parts(lot) for lot in lots]
        return found

    def balances(self, owner: str) -> Balances:
        """What the account shows, with what is due booked."""
        self.ledger.sweep(owner=owner)
        return self.ledger.balances(owner)


def parts(lot: Lot) -> Parts:
    """What has become of a lot."""
    back = lot.clawback
    absorbed, owed, repaid, forwarded = (
        (back.absorbed, back.owed, back.repaid, back.forwarded) if back else (0, 0, 0, 0)
    )
    return Parts(
        lot.amount,
        lot.remaining,
        lot.held,
        lot.spent,
        lot.expired,
        lot.voided,
        lot.clawed_back,
        lot.moved,
        absorbed,
        owed,
        repaid,
        forwarded,
    )


@given(situations(), claims(), st.randoms(use_true_random=False))
def test_claims_in_any_order_and_number_agree(
    situation: Situation, claims: list[Claiming], random: Random
) -> None:
    """The same claims, shuffled and doubled, leave every lot and balance the same."""
    shuffled = [*claims, *random.sample(claims, random.randint(0, len(claims)))]
    random.shuffle(shuffled)
    first, second = Story(situation), Story(situation)
    for claim in claims:
        first.claim(claim)
    for claim in shuffled:
        second.claim(claim)
    assert first.outcome() == second.outcome()


@given(situations(), claims())
def test_the_newest_claims_alone_would_do(situation: Situation, claims: list[Claiming]) -> None:
    """What was said before and is known better now leaves no trace on any lot or balance."""
    newest = {claim.reference: claim for claim in sorted(claims, key=lambda c: c[1:])}
    first, second = Story(situation), Story(situation)
    for claim in claims:
        first.claim(claim)
    for claim in newest.values():
        second.claim(claim)
    assert first.outcome() == second.outcome()


@given(situations(), st.lists(st.integers(0, GRANTED), min_size=1, max_size=4))
def test_a_claim_taken_back_leaves_no_trace(situation: Situation, amounts: list[int]) -> None:
    """Raised and lowered at will and then taken back, the lots are as if nothing was claimed."""
    story = Story(situation)
    before = story.outcome()
    for at, amount in enumerate([*amounts, 0]):
        story.claim(Claiming("a", at, amount))
    assert story.outcome() == before


@given(
    situations(),
    claims(),
    st.lists(st.sampled_from(["refund", "release", "capture", "claim"]), max_size=6),
    st.data(),
)
def test_doubles_change_nothing_wherever_they_fall(
    situation: Situation, claims: list[Claiming], between: list[str], data: st.DataObject
) -> None:
    """Between refunds, captures and releases, a claim that was told before is told in vain."""
    once, twice = Story(situation), Story(situation)
    told: list[Claiming] = []
    for step in between:
        for story in (once, twice):
            act(story, step, claims[len(told) % len(claims)])
        if step == "claim":
            told.append(claims[len(told) % len(claims)])
        for claim in data.draw(st.lists(st.sampled_from(told), max_size=2)) if told else []:
            twice.claim(claim)
        assert once.outcome() == twice.outcome()


def act(story: Story, step: str, claim: Claiming) -> None:
    """One step, if it can still be made."""
    if step == "claim":
        story.claim(claim)
    elif step == "refund" and story.debit:
        debit = story.ledger.debit_of(ALICE, story.debit)
        assert debit is not None
        if debit.left:
            story.ledger.refund(story.debit, (debit.left + 1) // 2)
    elif story.hold and story.ledger.holds[story.hold].is_open:
        if step == "release":
            story.ledger.release(story.hold)
        elif step == "capture":
            story.ledger.capture(story.hold, 1)


@given(situations(), claims(), st.randoms(use_true_random=False), st.integers(0, 80))
def test_claims_on_merged_accounts_agree_in_what_is_left(
    situation: Situation, claims: list[Claiming], random: Random, owed: int
) -> None:
    """Where debt goes on to another account, claims in any order leave the same balances."""
    first, second = Story(situation), Story(situation)
    shuffled = [*claims, *claims]
    random.shuffle(shuffled)
    for story, told in ((first, claims), (second, shuffled)):
        story.ledger.do(ChangeCreditLimit(owner=BOB, credit_limit=1_000))
        story.ledger.debit(story.balances(BOB).available - 1_000 + owed + 1, owner=BOB)
        story.ledger.transfer(None, is_merge=True)
        for claim in told:
            story.claim(claim)
    assert first.balances(ALICE) == second.balances(ALICE)
    assert first.balances(BOB).posted == second.balances(BOB).posted
    assert first.balances(BOB).available == second.balances(BOB).available
