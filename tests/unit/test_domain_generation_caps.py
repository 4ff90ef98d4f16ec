"""How many generations may be under way at once, or be begun in a day, where a tenant says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from contracts.problems import ProblemCode
from ledger_service.domain.commands import Command, SetPolicy
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Decision, Refusal
from tests.fixtures.generating import (
    COMPLETED,
    FAILED,
    REFUSED,
    SUBMITTED,
    SUCCEEDED,
    Generating,
    requesting,
)
from tests.fixtures.worlds import ALICE, BOB, TENANT, MemoryLedger

CAP = 2
ELSEWHERE = "other/alice"


CAPS = {
    "account": Policy(generations_in_flight_max=CAP),
    "tenant": Policy(tenant_generations_in_flight_max=CAP),
}
UNTOUCHED = {"account": BOB, "tenant": ELSEWHERE}


def capped(per: str) -> MemoryLedger:
    """A ledger whose tenant allows two at once, with credits for more."""
    ledger = MemoryLedger(CAPS[per])
    for owner in (ALICE, BOB, ELSEWHERE):
        ledger.grant(1_000, owner=owner)
    return ledger


def finish(generation: Generating, *reports: object) -> None:
    """A worker brings it to its end."""
    generation.claim()
    for report in reports:
        generation.report(report)  # type: ignore[arg-type]


def give_up(generation: Generating) -> None:
    """Nobody ever claims it, and its deadline passes."""
    generation.pass_deadline()


ENDINGS: dict[str, Callable[[Generating], object]] = {
    "succeeded": lambda it: finish(it, SUBMITTED, COMPLETED, SUCCEEDED),
    "failed": lambda it: finish(it, SUBMITTED, FAILED),
    "refused": lambda it: finish(it, REFUSED),
    "cancelled": lambda it: it.cancel(),
    "deleted": lambda it: it.delete(),
    "expired": give_up,
}


def refused(
    ledger: MemoryLedger, price: int = 40, *, per: str, owner: str = ALICE, in_flight: int = CAP
) -> None:
    """One more is refused, and nothing is charged or recorded."""
    before, events = ledger.balances(owner), len(ledger.log)
    refusal = ledger.refuse(requesting(price, owner=owner, key=ledger.key()))
    assert refusal.code is ProblemCode.LIMIT_REACHED
    assert refusal.fields == {"limit": CAP, "in_flight": in_flight, "per": per}
    assert (ledger.balances(owner), len(ledger.log)) == (before, events)


@pytest.mark.parametrize("per", CAPS)
@pytest.mark.parametrize("price", [0, 40])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_makes_room_for_one(ending: str, price: int, per: str) -> None:
    """Free or not; what another account, or another tenant, has under way counts for that one
    alone."""
    ledger = capped(per)
    first, _ = (Generating(ledger, price=price) for _ in range(CAP))
    refused(ledger, price, per=per)
    Generating(ledger, price=price, owner=UNTOUCHED[per])
    ENDINGS[ending](first)
    assert first.status.is_final
    Generating(ledger, price=price)
    refused(ledger, price, per=per)


def test_a_tenants_accounts_share_its_room() -> None:
    """Whosever generations they are; where each account is bounded too, that one is told first."""
    ledger = capped("tenant")
    Generating(ledger, owner=ALICE)
    bobs = Generating(ledger, owner=BOB)
    for owner in (ALICE, BOB):
        refused(ledger, per="tenant", owner=owner)
    bobs.cancel()
    Generating(ledger, owner=ALICE)
    refused(ledger, per="tenant", owner=BOB)
    set_policy(ledger, Policy(generations_in_flight_max=CAP, tenant_generations_in_flight_max=CAP))
    refused(ledger, per="account", owner=ALICE)
    refused(ledger, per="tenant", owner=BOB)


@pytest.mark.parametrize("per", CAPS)
def test_one_that_is_asked_to_stop_is_under_way_until_it_has_stopped(per: str) -> None:
    """A cancel at the provider makes no room before its verdict; nor does a deletion."""
    ledger = capped(per)
    for forget in (Generating.cancel, Generating.delete):
        generation = Generating(ledger)
        generation.claim()
        generation.report(SUBMITTED)
        forget(generation)
        assert not generation.status.is_final
    refused(ledger, per=per)


@pytest.mark.parametrize("per", CAPS)
def test_orders_of_one_batch_count_one_another(per: str) -> None:
    """With those that end in it."""
    ledger = capped(per)
    first = Generating(ledger)
    outcomes = ledger.batch(
        *[requesting(40, key=ledger.key()) for _ in range(2)],
        first.cancel_command(),
        *[requesting(40, key=ledger.key()) for _ in range(2)],
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Decision, Refusal, Decision, Decision, Refusal]
    refused(ledger, per=per)


@pytest.mark.parametrize("per", CAPS)
def test_a_lowered_cap_ends_nothing(per: str) -> None:
    """What is under way goes on; there is room again once enough has ended. Without a cap there
    always is."""
    ledger = MemoryLedger(Policy())
    ledger.grant(1_000)
    made = [Generating(ledger) for _ in range(CAP + 1)]
    set_policy(ledger, CAPS[per])
    refused(ledger, per=per, in_flight=CAP + 1 if per == "account" else CAP)
    made[0].cancel()
    refused(ledger, per=per)
    made[1].cancel()
    Generating(ledger)


@pytest.mark.parametrize("per", CAPS)
def test_what_ends_in_a_batch_makes_room_where_more_than_the_cap_was_under_way(per: str) -> None:
    """A tenant's are not counted further than its bound: never so that it seems to have room."""
    ledger = MemoryLedger(Policy())
    ledger.grant(1_000)
    made = [Generating(ledger) for _ in range(CAP + 2)]
    set_policy(ledger, CAPS[per])
    batch: list[Command] = []
    for generation in made[:-1]:
        batch += [requesting(40, key=ledger.key()), generation.cancel_command()]
    outcomes = ledger.batch(*batch, *[requesting(40, key=ledger.key()) for _ in range(2)])
    orders = [type(outcome) for outcome in (*outcomes[:-2:2], *outcomes[-2:])]
    assert orders == [*[Refusal] * 3, Decision, Refusal]
    refused(ledger, per=per)


def set_policy(ledger: MemoryLedger, policy: Policy) -> None:
    """The tenant has another policy from now on."""
    ledger.do(SetPolicy(owner=policy_owner(TENANT), policy=policy))


BOUNDS = {
    "account": Policy(generations_per_day_max=CAP),
    "tenant": Policy(tenant_generations_per_day_max=CAP),
}


def busy(ledger: MemoryLedger, owner: str = ALICE, *, per: str, begun: int = CAP) -> None:
    """One more today is refused, and nothing is charged or recorded."""
    before, events = ledger.balances(owner), len(ledger.log)
    refusal = ledger.refuse(requesting(40, owner=owner, key=ledger.key()))
    midnight = ledger.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert refusal.code is ProblemCode.LIMIT_REACHED
    assert refusal.fields == {"limit": CAP, "begun": begun, "per": per, "resets_at": midnight}
    assert (ledger.balances(owner), len(ledger.log)) == (before, events)


@pytest.mark.parametrize("price", [0, 40])
@pytest.mark.parametrize("per", BOUNDS)
def test_a_day_has_room_for_so_many_whatever_becomes_of_them(per: str, price: int) -> None:
    """What failed or was cancelled counts; with the next day of UTC there is room again."""
    ledger = MemoryLedger(BOUNDS[per])
    ledger.grant(1_000)
    Generating(ledger, price=price).cancel()
    finish(Generating(ledger, price=price), REFUSED)
    busy(ledger, per=per)
    ledger.now = ledger.now.replace(hour=23, minute=59, second=59, microsecond=999_999)
    busy(ledger, per=per)
    ledger.now += timedelta(microseconds=1)
    for _ in range(CAP):
        Generating(ledger, price=price)
    busy(ledger, per=per)


def test_accounts_have_a_day_each_and_a_tenant_one_for_all() -> None:
    """Neither counts what other tenants begin."""
    for per, policy in BOUNDS.items():
        ledger = MemoryLedger(policy)
        for owner in (ALICE, BOB, ELSEWHERE):
            ledger.grant(1_000, owner=owner)
        for owner in (ALICE, BOB):
            Generating(ledger, owner=owner)
            Generating(ledger, owner=ELSEWHERE)
        if per == "tenant":
            busy(ledger, ALICE, per=per)
            busy(ledger, BOB, per=per)
        else:
            Generating(ledger, owner=BOB)
            busy(ledger, BOB, per=per)
            Generating(ledger)


@pytest.mark.parametrize("per", BOUNDS)
def test_orders_of_one_batch_count_one_another_in_a_day(per: str) -> None:
    """Though none of them has been stored yet; a cancel among them makes no room."""
    ledger = MemoryLedger(BOUNDS[per])
    ledger.grant(1_000)
    first = Generating(ledger)
    outcomes = ledger.batch(
        requesting(40, key=ledger.key()),
        first.cancel_command(),
        *[requesting(40, key=ledger.key()) for _ in range(2)],
    )
    assert [type(outcome) for outcome in outcomes] == [Decision, Decision, Refusal, Refusal]
    busy(ledger, per=per)
