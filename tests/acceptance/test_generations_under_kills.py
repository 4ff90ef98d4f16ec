"""Generations while the ledger's processes are killed: all end, and all are paid for rightly."""

from __future__ import annotations

import time

import pytest

from tests.fixtures.checker import check
from tests.fixtures.customer import Customer
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow


def test_every_generation_ends_as_its_prompt_asks(stack: Stack, customer: Customer) -> None:
    """Without any fault: each ending is the provider's, each failure is refunded once."""
    customer.order_mix(30)
    customer.wait()
    check(stack, customer)


def test_ledger_is_killed(stack: Stack, customer: Customer) -> None:
    """kill -9 of the API in the middle of work: what was answered stands, what was not is asked
    again under its key, and worker and clockwork find it back by themselves."""
    customer.order_mix(10)
    with customer.ordering(20, pause_seconds=0.1):
        for _ in range(2):
            time.sleep(0.7)
            assert customer.open()
            stack.ledger.kill()
            eventually(lambda: customer.unanswered, "an order that nobody answers")
            stack.ledger.start()
    customer.wait()
    check(stack, customer)
