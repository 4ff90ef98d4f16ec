"""The worked examples of the law, with their figures on the way, on the oracle itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle.ground import Outcome
from tests.oracle.model import World
from tests.oracle.things import DAY, Policy, Refused, Schedule, Terms

HOUR = DAY // 24
NOON = 12 * HOUR
MINUTE = HOUR // 60


class Example:
    """A world whose clock moves a second with every command."""

    def __init__(self, **policy: Any) -> None:
        self.world = World(policy=Policy(**policy))
        self.now = 11 * HOUR

    def __call__(self, command: str, **fields: Any) -> Outcome:
        """Carry out a command on account `a`, unless it names others."""
        self.now += 1_000_000
        if not {"account", "source"} & fields.keys():
            fields["account"] = "a"
        return self.world.do(command, self.now, **fields)

    def grant(self, amount: int, account: str = "a", **terms: Any) -> str:
        """Grant; returns the lot."""
        return str(self("grant", account=account, amount=amount, terms=Terms(**terms)).noun["lot"])

    def shows(self, account: str = "a", **expected: int) -> None:
        """These figures of an account's balance now."""
        balance = self.world.accounts[account].balance(self.now)
        assert {name: balance[name] for name in expected} == expected


def test_a_hold_keeps_what_expires_under_it() -> None:
    """1: only the free part expires; a capture takes its share, the rest ends."""
    do = Example(grace=0)
    do.grant(100, expires_at=NOON)
    do.grant(50)
    hold = do("hold", amount=60).noun["hold"]
    do.now = NOON + MINUTE
    do.shows(posted=150, held=60, pending_expiry=40, available=50)
    do("capture", hold=hold, amount=20)
    do.shows(posted=50, held=0, pending_expiry=0, available=50)


def test_a_clawback_takes_what_is_left_and_the_rest_is_debt() -> None:
    """2 and 3: a released hold pays the claim, a grant repays it, a won dispute gives all back."""
    do = Example()
    lot = do.grant(100)
    debit = do("debit", amount=30).noun["debit"]
    hold = do("hold", amount=20).noun["hold"]
    claim: dict[str, Any] = {"lot": lot, "reference": "dispute"}
    do("clawback", **claim, as_of=1, fraction_millis=1000)
    do.shows(posted=-30, debt=50, available=-50)
    do("release", hold=hold)
    assert do.world.find(lot).c == 70
    do.shows(debt=30, posted=-30, available=-30)
    do.grant(100)
    do.shows(debt=0, posted=70)
    do("clawback", **claim, as_of=2, amount=0)
    do.shows(posted=170)
    do("refund", debit=debit, amount=30)
    do.shows(posted=200, available=200)


def test_a_credit_limit_is_used_repaid_and_restored() -> None:
    """4: a refund cancels what is left of the debt and restores what was repaid."""
    do = Example()
    do("open", limit=50)
    do.grant(10)
    debit = do("debit", amount=40).noun["debit"]
    do.shows(posted=-30, available=20)
    do("hold", amount=20)
    do.shows(available=0)
    do.grant(25)
    do.shows(posted=-5, available=25)
    do("refund", debit=debit, amount=40)
    do.shows(posted=35, available=65)


def test_a_clawback_absorbs_what_had_expired() -> None:
    """5: what was lost anyway is not owed; a refund pays the claim and the rest ends."""
    do = Example(grace=0)
    lot = do.grant(100, expires_at=NOON)
    debit = do("debit", amount=80).noun["debit"]
    do.now = NOON + MINUTE
    do("clawback", lot=lot, reference="dispute", as_of=1, fraction_millis=500)
    assert do.world.find(lot).a == 20
    do.shows(debt=30, posted=-30)
    do("refund", debit=debit)
    assert (do.world.find(lot).x, do.world.find(lot).c) == (70, 30)
    do.shows(debt=0, posted=0)


def test_a_clawback_follows_credits_through_a_merge() -> None:
    """6: the derived lot pays its share, and the merged account's debt goes on."""
    do = Example()
    do.grant(100, source="purchase")
    do("open", account="b")
    do("debit", amount=30)
    do("transfer", source="a", target="b", amount="all", merge=True)
    do.shows("b", posted=70)
    do("debit", account="b", amount=50)
    do("clawback", lot="a#0", reference="store", as_of=1, fraction_millis=1000)
    derived = do.world.find("b#0")
    assert (derived.c, derived.q, do.world.accounts["b"].o) == (20, 50, 30)
    do.shows("b", posted=-80)
    do.shows("a", posted=0, debt=0)


def test_lowering_a_claim_and_claiming_less_at_once_agree() -> None:
    """80 lowered to 50 and a claim of 50 are the same, with credits free, moved and expired."""
    ends = []
    for claims in ([(1, 80), (2, 50)], [(2, 50)], [(2, 50), (1, 80), (2, 50)]):
        do = Example()
        lot = do.grant(80, expires_at=NOON)
        do("open", account="b")
        do("transfer", source="a", target="b", amount=30)
        do("debit", amount=20)
        do.now = NOON
        for as_of, amount in claims:
            do("clawback", lot=lot, reference="r", as_of=as_of, amount=amount)
        there = do.world.find(lot)
        ends.append((there.c, there.a, there.q, there.f, do.world.find("b#0").target))
    assert ends[0] == ends[1] == ends[2]


def test_missed_periods_are_granted_and_roll_over() -> None:
    """Each period's grant expires at its end, and lives on up to the cap until the next one."""
    do = Example()
    do("open")
    monthly = Schedule(id="m", amount=100, unit="month", starts_at=31 * DAY - HOUR, rollover_cap=30)
    do("set_schedules", schedules=(monthly,))
    do.now = 31 * DAY
    do("touch")
    do.shows(posted=100)
    do("debit", amount=90)
    do.now = 59 * DAY  # 28 February is over: the last day of a short month
    do("touch")
    do.shows(posted=110)
    do.now = 120 * DAY
    do("touch")
    do.shows(posted=130)


def test_what_a_hold_keeps_from_moving_is_refused_with_its_numbers() -> None:
    """A refusal changes nothing, not even what is due is booked."""
    do = Example()
    do.grant(10, expires_at=NOON)
    do.now = NOON
    with pytest.raises(Refused) as refused:
        do("debit", amount=1)
    assert refused.value.numbers == {"available": 0, "required": 1, "shortfall": 1}
    do.shows(posted=10, pending_expiry=10)
