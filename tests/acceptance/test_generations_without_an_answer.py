"""Generations of which the provider says nothing: each is found, or given up and refunded."""

from __future__ import annotations

import time

import pytest

from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer
from tests.fixtures.stack import GRACE_SECONDS, Stack, eventually

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 3


def test_lost_submits_are_found(stack: Stack, customer: Customer) -> None:
    """A submit whose answer never came is found: by the provider's webhook, or, where none comes,
    in its listing. Nothing is submitted twice."""
    called = [customer.order("a boat [[fal:lost-submit]]", "succeeded") for _ in range(5)]
    listed = [
        customer.order("a boat [[fal:lost-submit]][[fal:no-webhook]]", "succeeded")
        for _ in range(5)
    ]
    failed = [customer.order("a boat [[fal:lost-submit]][[fal:fail]]", "failed") for _ in range(5)]
    customer.wait()
    log = check(stack, customer)
    assert all("provider:fal" in finders(log, order.generation_id) for order in called + failed)
    assert all("provider:fal" not in finders(log, order.generation_id) for order in listed)
    for order in customer.orders:
        assert len(stack.submits(generation=order.generation_id)) == 1


def finders(log: Log, generation_id: str) -> list[str]:
    """Who told the ledger under which id the provider has the job."""
    submitted = [event for event in log.of(generation_id) if "submitted" in event["topic"]]
    return [event["actor"] for event in submitted]


def test_stuck_jobs_are_cancelled_at_their_deadline(stack: Stack, customer: Customer) -> None:
    """Past the deadline the provider is asked to cancel: what it cancels is expired and refunded,
    and what it finishes all the same is delivered and stays paid."""
    with stack.told(stack.ledger, GENERATION_DEADLINE_SECONDS=str(DEADLINE_SECONDS)):
        for _ in range(3):  # all of them at once fit into the provider's queue
            customer.order("a boat on a reef [[fal:stuck]]", "expired")
            customer.order("a slow boat [[fal:slow=6]]", "succeeded")
            customer.order("a paper boat")
        customer.wait()
        log = check(stack, customer)
    for order in customer.orders:
        was_late = "fal:" in order.prompt
        assert log.topics(order.generation_id)["deadline_passed.v1"] == was_late
        (submit,) = stack.submits(generation=order.generation_id)
        assert submit["cancel_requested"] is was_late
        assert submit["billed"] is (order.ending == "succeeded")


def test_a_silent_provider_is_given_up_after_the_grace(stack: Stack, customer: Customer) -> None:
    """With the provider gone at the deadline, its verdict is waited for until the grace is over;
    then the generation is expired and refunded, once, whatever comes later."""
    with stack.told(stack.ledger, GENERATION_DEADLINE_SECONDS=str(DEADLINE_SECONDS)):
        for _ in range(5):
            customer.order("a slow boat [[fal:slow=8]]", "expired")
        ordered_at = time.monotonic()
        eventually(lambda: set(customer.open().values()) == {"running"}, "all are running")
        stack.fal.kill()
        customer.wait()
        assert time.monotonic() - ordered_at > DEADLINE_SECONDS + GRACE_SECONDS
        stack.fal.start()
        log = check(stack, customer)
        eventually(lambda: all(s["ended_at"] for s in stack.submits()), "the late results")
        time.sleep(1.0)
        assert Log(customer).events == log.events
    reasons = {item["failure"]["reason"] for item in customer.generations().values()}
    assert reasons == {"deadline"}


def test_no_deadline_passes_while_nobody_works(stack: Stack, customer: Customer) -> None:
    """With all workers gone for 30 s, generations wait past their deadline: they are not ended
    because nobody could do them."""
    with stack.told(stack.ledger, GENERATION_DEADLINE_SECONDS=str(DEADLINE_SECONDS)):
        stack.worker.kill()
        stack.forget_claims()
        customer.order_mix(5)
        time.sleep(DEADLINE_SECONDS + 2.0)
        assert set(customer.statuses().values()) == {"requested"}
        stack.worker.start()
        customer.wait()
    # Whether a worker or the deadline is first from now on is open; each is lawful.
    for order, status in zip(customer.orders, endings(customer), strict=True):
        assert status in (order.ending, "expired")
        order.ending = status
    check(stack, customer)


def endings(customer: Customer) -> list[str]:
    """How each order ended."""
    statuses = customer.statuses()
    return [statuses[order.generation_id] for order in customer.orders]
