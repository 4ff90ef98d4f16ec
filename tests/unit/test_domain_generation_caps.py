"""How many generations of one account may be under way at once, where a tenant says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contracts.problems import ProblemCode
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
from tests.fixtures.worlds import ALICE, BOB, MemoryLedger

CAP = 2


def capped() -> MemoryLedger:
    """A ledger whose tenant allows two at once, with credits for more."""
    ledger = MemoryLedger(Policy(generations_in_flight_max=CAP))
    for owner in (ALICE, BOB):
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


def refused(ledger: MemoryLedger, price: int, in_flight: int = CAP) -> None:
    """One more is refused, and nothing is charged or recorded."""
    before, events = ledger.balances(), len(ledger.log)
    refusal = ledger.refuse(requesting(price, key=ledger.key()))
    assert refusal.code is ProblemCode.LIMIT_REACHED
    assert refusal.fields == {"limit": CAP, "in_flight": in_flight}
    assert (ledger.balances(), len(ledger.log)) == (before, events)


@pytest.mark.parametrize("price", [0, 40])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_makes_room_for_one(ending: str, price: int) -> None:
    """Free or not; another account's generations count for that one alone."""
    ledger = capped()
    first, _ = (Generating(ledger, price=price) for _ in range(CAP))
    refused(ledger, price)
    Generating(ledger, price=price, owner=BOB)
    ENDINGS[ending](first)
    assert first.status.is_final
    Generating(ledger, price=price)
    refused(ledger, price)


def test_one_that_is_asked_to_stop_is_under_way_until_it_has_stopped() -> None:
    """A cancel at the provider makes no room before its verdict; nor does a deletion."""
    ledger = capped()
    for forget in (Generating.cancel, Generating.delete):
        generation = Generating(ledger)
        generation.claim()
        generation.report(SUBMITTED)
        forget(generation)
        assert not generation.status.is_final
    refused(ledger, 40)


def test_orders_of_one_batch_count_one_another() -> None:
    """With those that end in it."""
    ledger = capped()
    first = Generating(ledger)
    outcomes = ledger.batch(
        *[requesting(40, key=ledger.key()) for _ in range(2)],
        first.cancel_command(),
        *[requesting(40, key=ledger.key()) for _ in range(2)],
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Decision, Refusal, Decision, Decision, Refusal]
    refused(ledger, 40)


def test_a_lowered_cap_ends_nothing() -> None:
    """What is under way goes on; there is room again once enough has ended. Without a cap there
    always is."""
    ledger = MemoryLedger(Policy())
    ledger.grant(1_000)
    made = [Generating(ledger) for _ in range(CAP + 1)]
    (tenant, state) = next(iter(ledger.policies.items()))
    ledger.policies[tenant] = type(state)(
        version=2, recorded_at=state.recorded_at, policy=Policy(generations_in_flight_max=CAP)
    )
    refused(ledger, 40, in_flight=CAP + 1)
    made[0].cancel()
    refused(ledger, 40)
    made[1].cancel()
    Generating(ledger)
