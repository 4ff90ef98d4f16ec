"""Every refusal of the law with its numbers, and which statuses allow what, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts.api.accounts import AccountStatus
from contracts.limits import BALANCE_MAX_CREDITS
from contracts.problems import ProblemCode
from ledger_service.domain import commands
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.commands import Command
from tests.fixtures.worlds import ALICE, BOB, CAROL, NOON, MemoryLedger, granting

ACTIVE, FROZEN = AccountStatus.ACTIVE, AccountStatus.FROZEN
CLOSED, MERGED = AccountStatus.CLOSED, AccountStatus.MERGED
CODES = {
    FROZEN: ProblemCode.ACCOUNT_FROZEN,
    CLOSED: ProblemCode.ACCOUNT_CLOSED,
    MERGED: ProblemCode.ACCOUNT_MERGED,
}
SPENDS = {"debit", "hold", "transfer", "merge", "generation", "adjust"}
STATUSES = {"freeze", "unfreeze", "close"}
REFUSED = {
    ACTIVE: set[str](),
    FROZEN: SPENDS,
    CLOSED: SPENDS | STATUSES | {"grant", "schedules"},
    MERGED: SPENDS | STATUSES | {"schedules", "limit"},
}


class Scene:
    """An account in some status that has a debit, a hold, a lot and 20 free credits."""

    def __init__(self, status: AccountStatus = ACTIVE) -> None:
        self.ledger = MemoryLedger()
        self.ledger.open(credit_limit=30)
        self.lot = self.ledger.grant(100)
        self.ledger.open(owner=BOB)
        self.debit = self.ledger.debit(50)
        self.hold = self.ledger.hold(30, ttl=timedelta(hours=1))
        if status is MERGED:
            self.ledger.transfer(None, is_merge=True)
        elif status is not ACTIVE:
            self.ledger.do(commands.ChangeStanding(owner=ALICE, status=status))

    def asked(self) -> dict[str, Command]:
        """One of each kind."""
        statuses = {"freeze": FROZEN, "unfreeze": ACTIVE, "close": CLOSED}
        plan = Schedule(schedule_id="s", amount=1, unit="day", starts_at=NOON)
        named: dict[str, Any] = {"owner": ALICE, "hold_id": self.hold}
        return {
            "grant": granting(1),
            "debit": commands.DebitCredits(owner=ALICE, amount=1),
            "adjust": commands.DebitCredits(owner=ALICE, amount=1, is_adjustment=True),
            "hold": commands.PlaceHold(owner=ALICE, amount=1),
            "transfer": commands.TransferCredits(owner=ALICE, to_owner=BOB, amount=1),
            "merge": commands.TransferCredits(owner=ALICE, to_owner=BOB, is_merge=True),
            "generation": commands.RequestGeneration(
                owner=ALICE,
                model="m",
                price=1,
                tags=(),
                deadline_after=timedelta(hours=1),
                private="00",
            ),
            "refund": commands.RefundDebit(owner=ALICE, debit_id=self.debit, amount=1),
            "capture": commands.CaptureHold(**named, amount=1),
            "release": commands.ReleaseHold(**named),
            "extend": commands.ExtendHold(**named, ttl=timedelta(hours=2)),
            "release_all": commands.ReleaseHolds(owner=ALICE, reference="r"),
            "clawback": commands.ClawBack(
                owner=ALICE, grant_id=self.lot, reference="r", as_of=NOON, amount=100
            ),
            "void": commands.VoidGrant(owner=ALICE, grant_id=self.lot),
            "expiry": commands.BookExpiry(owner=ALICE),
            "thresholds": commands.SetThresholds(
                owner=ALICE, thresholds=Thresholds(low_balance=(5,))
            ),
            "limits": commands.SetLimits(owner=ALICE, limits=()),
            "schedules": commands.SetSchedules(owner=ALICE, schedules=(plan,)),
            "limit": commands.ChangeCreditLimit(owner=ALICE, credit_limit=1),
            **{
                name: commands.ChangeStanding(owner=ALICE, status=status)
                for name, status in statuses.items()
            },
        }


KINDS = sorted(Scene().asked())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", list(AccountStatus))
def test_what_a_status_allows(status: AccountStatus, kind: str) -> None:
    """Spending needs an active account, grants one that is not closed; what ends earlier business
    always goes, and on a merged account it moves on."""
    scene = Scene(status)
    command = scene.asked()[kind]
    if kind in REFUSED[status]:
        refusal = scene.ledger.refuse(command)
        assert refusal.code is CODES[status]
        assert refusal.fields == ({"merged_into": "bob"} if status is MERGED else {})
    else:
        scene.ledger.do(command)
    if status is MERGED:
        held = scene.ledger.balances().held
        assert scene.ledger.balances() == (held, held, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_grant_opens_an_account(kind: str) -> None:
    """Everything else needs one that exists."""
    ledger = MemoryLedger()
    ledger.open(owner=BOB)
    command = Scene().asked()[kind]
    if kind == "grant":
        ledger.do(command)
    else:
        assert ledger.refuse(command).code is ProblemCode.ACCOUNT_NOT_FOUND


def test_an_adjustment_opens_no_account() -> None:
    """Who corrects a balance means one that is there."""
    refusal = MemoryLedger().refuse(granting(1, is_adjustment=True))
    assert refusal.code is ProblemCode.ACCOUNT_NOT_FOUND


@pytest.mark.parametrize(
    ("make", "code", "fields"),
    [
        (
            lambda s: commands.PlaceHold(owner=ALICE, amount=51),
            ProblemCode.INSUFFICIENT_CREDITS,
            {"available": 50, "required": 51, "shortfall": 1},
        ),
        (
            lambda s: commands.TransferCredits(owner=ALICE, to_owner=BOB, amount=21),
            ProblemCode.INSUFFICIENT_CREDITS,
            {"available": 20, "required": 21, "shortfall": 1},
        ),
        (
            lambda s: commands.CaptureHold(owner=ALICE, hold_id=s.hold, amount=31),
            ProblemCode.CAPTURE_EXCEEDS_HOLD,
            {"held": 30, "requested": 31},
        ),
        (
            lambda s: commands.RefundDebit(owner=ALICE, debit_id=s.debit, amount=51),
            ProblemCode.REFUND_EXCEEDS_DEBIT,
            {"refundable": 50, "requested": 51},
        ),
        (
            lambda s: commands.TransferCredits(owner=ALICE, to_owner=ALICE, amount=1),
            ProblemCode.SAME_ACCOUNT,
            {},
        ),
        (
            lambda s: commands.TransferCredits(owner=ALICE, to_owner=CAROL, amount=1),
            ProblemCode.ACCOUNT_NOT_FOUND,
            {"account_id": "carol"},
        ),
        (
            lambda s: commands.TransferCredits(owner=CAROL, to_owner=ALICE, amount=1),
            ProblemCode.ACCOUNT_NOT_FOUND,
            {"account_id": "carol"},
        ),
        (lambda s: commands.WriteOffDebt(owner=ALICE), ProblemCode.NO_DEBT, {}),
        (
            lambda s: commands.ReleaseHold(owner=BOB, hold_id=s.hold),
            ProblemCode.HOLD_NOT_FOUND,
            {},
        ),
        (
            lambda s: commands.ReleaseHold(owner=ALICE, hold_id="hld" + s.debit[3:]),
            ProblemCode.HOLD_NOT_FOUND,
            {},
        ),
        (
            lambda s: commands.VoidGrant(owner=BOB, grant_id=s.lot),
            ProblemCode.GRANT_NOT_FOUND,
            {},
        ),
        (
            lambda s: commands.VoidGrant(owner=ALICE, grant_id="grt" + s.debit[3:]),
            ProblemCode.GRANT_NOT_FOUND,
            {},
        ),
        (lambda s: granting(BALANCE_MAX_CREDITS), ProblemCode.LIMIT_REACHED, None),
    ],
)
def test_refusals_tell_the_true_numbers(
    make: Callable[[Scene], Command], code: ProblemCode, fields: dict[str, Any] | None
) -> None:
    """The code, and what the caller needs to know; nothing has happened."""
    scene = Scene()
    logged = len(scene.ledger.log)
    refusal = scene.ledger.refuse(make(scene))
    assert refusal.code is code
    assert fields is None or refusal.fields == fields
    assert len(scene.ledger.log) == logged


@pytest.mark.parametrize("end", ["capture", "release", "expire"])
def test_a_hold_ends_once(end: str) -> None:
    """Whatever ended it, nothing more can be done with it; the sweep alone does not mind."""
    scene = Scene()
    ledger, hold = scene.ledger, scene.hold
    sweep = commands.ExpireHold(owner=ALICE, hold_id=hold)
    ledger.do(sweep)
    assert ledger.balances().held == 30, "too early"
    ledger.wait(3_600)
    if end == "expire":
        ledger.do(sweep)
    else:
        ledger.do(scene.asked()[end])
    status = {"capture": "captured", "release": "released", "expire": "expired"}[end]
    for again in ("capture", "release", "extend"):
        refusal = ledger.refuse(scene.asked()[again])
        assert refusal.code is ProblemCode.HOLD_NOT_OPEN
        assert refusal.fields == {"hold_status": status}
    assert ledger.do(sweep).events == ()


def test_a_hold_is_never_shortened_and_has_a_longest_time() -> None:
    """An extension by less than what is left changes nothing; a week from now is the most."""
    scene = Scene()
    ends = []
    for ttl in (timedelta(minutes=1), timedelta(hours=2), timedelta(days=30)):
        extend = commands.ExtendHold(owner=ALICE, hold_id=scene.hold, ttl=ttl)
        scene.ledger.do(extend)
        ends.append(scene.ledger.holds[scene.hold].hold.expires_at - NOON)
    assert ends == [timedelta(hours=1), timedelta(hours=2), timedelta(days=7)]


def test_derived_grants_are_claimed_at_their_origin() -> None:
    """The refusal says which grant of which account it is."""
    scene = Scene()
    scene.ledger.transfer(10)
    (derived,) = scene.ledger.account(BOB).lots
    claim: dict[str, Any] = {"reference": "r", "as_of": NOON, "amount": 1}
    refusal = scene.ledger.refuse(commands.ClawBack(owner=BOB, grant_id=derived.grant_id, **claim))
    assert refusal.code is ProblemCode.GRANT_DERIVED
    assert refusal.fields == {"origin": {"account_id": "alice", "grant_id": scene.lot}}


def test_credits_of_two_units_do_not_mix() -> None:
    """Both accounts of a transfer count the same thing."""
    scene = Scene()
    scene.ledger.do(commands.OpenAccount(owner=CAROL, unit="second", credit_limit=0))
    for is_merge in (False, True):
        refusal = scene.ledger.refuse(
            commands.TransferCredits(owner=ALICE, to_owner=CAROL, is_merge=is_merge)
        )
        assert refusal.code is ProblemCode.UNIT_MISMATCH
        assert refusal.fields == {"unit": "credit", "to_unit": "second"}


@pytest.mark.parametrize("is_merge", [False, True])
@pytest.mark.parametrize("status", [FROZEN, CLOSED, MERGED])
def test_what_an_account_may_be_given(status: AccountStatus, is_merge: bool) -> None:
    """A frozen account takes all, a closed one nothing; a merged one passes transfers on."""
    scene = Scene(status)
    scene.ledger.grant(5, owner=CAROL)
    give = commands.TransferCredits(owner=CAROL, to_owner=ALICE, is_merge=is_merge)
    if status is CLOSED or (status is MERGED and is_merge):
        assert scene.ledger.refuse(give).code is CODES[status]
        return
    before = scene.ledger.balances(BOB).posted
    scene.ledger.do(give)
    assert scene.ledger.balances(BOB).posted == before + (5 if status is MERGED else 0)


def test_a_spend_limit_is_told_before_a_want_of_credits() -> None:
    """Limits come first, with what is used, and when the window ends."""
    scene = Scene()
    limit = SpendLimit(limit_id="day", amount=40)
    scene.ledger.do(commands.SetLimits(owner=ALICE, limits=(limit,)))
    scene.ledger.debit(15)
    refusal = scene.ledger.refuse(commands.DebitCredits(owner=ALICE, amount=1_000))
    assert refusal.code is ProblemCode.SPEND_LIMIT_REACHED
    assert refusal.fields == {
        "limit_id": "day",
        "limit": 40,
        "used": 15,
        "required": 1_000,
        "resets_at": NOON.replace(hour=0) + timedelta(days=1),
    }


def test_a_voided_grant_stays_voided() -> None:
    """Voiding again moves nothing, and what comes back lives on in a grace lot alone."""
    scene = Scene()
    ledger, void = scene.ledger, scene.asked()["void"]
    ledger.do(void)
    ledger.do(void)
    assert (ledger.lot(scene.lot).voided, ledger.lot(scene.lot).held) == (20, 30)
    ledger.release(scene.hold)
    ledger.refund(scene.debit)
    assert (ledger.lot(scene.lot).remaining, ledger.lot(scene.lot).moved) == (0, 80)
    assert ledger.balances() == (80, 0, 110, 0)


def test_a_grant_is_clawed_back_under_a_hundred_references_at_most() -> None:
    """A further one is refused; those that are known can still be raised and lowered."""
    ledger = MemoryLedger()
    lot = ledger.grant(1_000)
    for number in range(100):
        ledger.claw_back(lot, 1, reference=f"case-{number}")
    refusal = ledger.refuse(
        commands.ClawBack(
            owner=ALICE, grant_id=lot, reference="one-more", as_of=ledger.now, amount=1
        )
    )
    assert (refusal.code, refusal.fields) == (ProblemCode.LIMIT_REACHED, {"limit": 100})
    ledger.wait(1)
    ledger.claw_back(lot, 5, reference="case-7")
    assert ledger.balances().posted == 1_000 - 104
