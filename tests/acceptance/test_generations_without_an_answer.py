"""Generations whose submit got no answer: the provider has them, so they must be found there."""

from __future__ import annotations

import pytest

from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer
from tests.fixtures.stack import Stack

pytestmark = pytest.mark.slow


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
