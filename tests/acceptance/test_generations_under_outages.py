"""Generations while something that the ledger relies on is gone for a while, or forgets all."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from contracts.jobs import DOORBELL_QUEUE
from tests.fixtures.checker import check
from tests.fixtures.customer import Customer
from tests.fixtures.fal_emulator import lock_account
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

OUTAGE_SECONDS = 20.0
LOCKED_SECONDS = 8.0


def bells(stack: Stack) -> int:
    """How many bells no worker has taken yet."""
    with redis.Redis.from_url(stack.env["VALKEY_URL"]) as valkey:
        return int(valkey.llen(f"dramatiq:{DOORBELL_QUEUE}"))


def test_valkey_is_flushed(stack: Stack, customer: Customer) -> None:
    """FLUSHALL with bells waiting: what they rang for is found without them."""
    stack.worker.freeze()
    customer.order_mix(20)
    eventually(lambda: bells(stack), "bells that wait")
    with redis.Redis.from_url(stack.env["VALKEY_URL"]) as valkey:
        valkey.flushall()
    stack.worker.thaw()
    customer.order_mix(10)
    customer.wait()
    check(stack, customer)


def test_valkey_is_down(stack: Stack, customer: Customer) -> None:
    """Without Valkey for 20 s: the ledger takes orders all the time, the worker pulls them and
    brings them to their end, and afterwards the bell is heard again."""
    customer.order_mix(5)
    stack.valkey.kill()
    down_since = time.monotonic()
    with customer.ordering(20, pause_seconds=0.5):
        pass
    assert customer.unanswered == 0
    customer.wait()
    time.sleep(max(0.0, down_since + OUTAGE_SECONDS - time.monotonic()))
    assert not stack.valkey.is_running
    stack.valkey.start()
    stack.worker.freeze()
    customer.order_mix(5)
    eventually(lambda: bells(stack), "a ledger that rings again")
    stack.worker.thaw()
    eventually(lambda: not bells(stack), "a worker that hears again")
    customer.wait()
    check(stack, customer)


def test_provider_account_is_locked(stack: Stack, customer: Customer) -> None:
    """With the account at the provider empty for a while: nothing fails for it, few submits are
    sent in vain, and once it is refilled everything comes to the end it should."""
    customer.order_mix(10)
    eventually(lambda: submits_of(stack, customer), "some work at the provider")
    refused_before = lock_account(stack.fal_url, locked=True)
    try:
        waiting = [customer.order("a paper boat") for _ in range(15)]
        time.sleep(LOCKED_SECONDS)
        statuses = customer.statuses()
        assert {statuses[order.generation_id] for order in waiting} <= {"requested", "submitting"}
        eventually(lambda: "provider_paused" in stack.concerns(), "an operator who is told")
    finally:
        refused = lock_account(stack.fal_url, locked=False) - refused_before
    customer.wait()
    eventually(lambda: "provider_paused" not in stack.concerns(), "an operator who is relieved")
    log = check(stack, customer)
    # Whatever 16 threads and as many pulls had under way, then a probe for each growing pause.
    assert 0 < refused <= 2 * 16 + 4
    abandoned = sum(log.topics(key)["attempt_abandoned.v1"] for key in customer.statuses())
    assert abandoned > refused


def submits_of(stack: Stack, customer: Customer) -> list[dict[str, Any]]:
    """What the provider took of this customer."""
    mine = {order.generation_id for order in customer.orders}
    return [item for item in stack.submits() if item["tags"]["generation"] in mine]


def test_provider_is_down(stack: Stack, customer: Customer) -> None:
    """Without the provider for 20 s: what it had is asked for later, what it had not is submitted
    later, and nobody takes its silence for a failure."""
    customer.order_mix(15)
    eventually(stack.submits, "some work at the provider")
    stack.fal.kill()
    down_since = time.monotonic()
    time.sleep(OUTAGE_SECONDS / 2)
    ended = customer.statuses().keys() - customer.open().keys()
    with customer.ordering(15, pause_seconds=0.1):
        pass
    time.sleep(max(0.0, down_since + OUTAGE_SECONDS - time.monotonic()))
    late = customer.statuses().keys() - customer.open().keys()
    assert late == ended, "it ended without the provider's word"
    assert customer.open()
    stack.fal.start()
    customer.wait()
    log = check(stack, customer)
    assert any(log.topics(key)["attempt_abandoned.v1"] for key in customer.statuses())
