"""Generations while the ledger's processes are killed: all end, and all are paid for rightly."""

from __future__ import annotations

import time

import pytest

from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow


def test_every_generation_ends_as_its_prompt_asks(stack: Stack, customer: Customer) -> None:
    """Without any fault: each ending is the provider's, each failure is refunded once."""
    customer.order_mix(30)
    customer.wait()
    check(stack, customer)


def test_worker_is_killed_before_its_submit_arrives(stack: Stack, customer: Customer) -> None:
    """kill -9 of a worker whose POSTs never arrive: the attempts may have left, so they are looked
    for first, and only when the provider lacks them are they made again."""
    stack.fal.freeze()
    customer.order_mix(20)
    eventually(lambda: "submitting" in customer.statuses().values(), "a submit under way")
    caught = [key for key, status in customer.statuses().items() if status == "submitting"]
    stack.worker.kill()
    stack.fal.kill()  # and with it the requests that it has not read
    stack.fal.start()
    assert not any(stack.submits(generation=key) for key in caught)
    stack.worker.start()
    customer.wait()
    log = check(stack, customer)
    for key in caught:
        (first, *_) = [event for event in log.of(key) if event["topic"] == "submission_lost.v1"]
        assert first["data"]["reason"] == "worker_silent"
        assert log.topics(key)["attempt_abandoned.v1"] >= 1


def test_worker_is_killed_after_its_submit_arrived(stack: Stack, customer: Customer) -> None:
    """kill -9 of a worker that waits for the answer to its POST: the provider has the job, and it
    is found there and never submitted again."""
    prompt = "a boat in the fog [[fal:slow-submit=30]][[fal:no-webhook]]"
    orders = [customer.order(prompt, "succeeded") for _ in range(5)]
    customer.order_mix(15)
    keys = [order.generation_id for order in orders]
    eventually(lambda: all(stack.submits(generation=key) for key in keys), "all submits")
    assert {customer.statuses()[key] for key in keys} == {"submitting"}
    stack.worker.kill()
    stack.worker.start()
    customer.wait()
    log = check(stack, customer)
    for key in keys:
        assert log.topics(key)["submission_lost.v1"] == 1
        assert len(stack.submits(generation=key)) == 1


def test_worker_is_killed_again_and_again(stack: Stack, customer: Customer) -> None:
    """kill -9 of the worker at four arbitrary moments: each step is taken up where it was left."""
    with customer.ordering(25, pause_seconds=0.2):
        for round_number in range(4):
            eventually(customer.open, "work to be interrupted at")
            time.sleep(0.3 * round_number)
            stack.worker.kill()
            stack.worker.start()
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
            customer.go_unanswered()
            stack.ledger.start()
    customer.wait()
    check(stack, customer)


def test_postgres_is_killed(stack: Stack, customer: Customer) -> None:
    """kill -9 of PostgreSQL in the middle of commits: nothing that was answered is lost, the API
    says 503 meanwhile, and all processes come back to the database without being restarted."""
    customer.order_mix(10)
    pids = [part.pid for part in (stack.ledger, stack.clockwork, stack.worker)]
    with customer.ordering(20, pause_seconds=0.1):
        for _ in range(2):
            time.sleep(0.7)
            assert customer.open()
            stack.kill_postgres()
            customer.go_unanswered()
            stack.postgres.start()
    customer.wait()
    assert pids == [part.pid for part in (stack.ledger, stack.clockwork, stack.worker)]
    assert all(part.is_running for part in (stack.ledger, stack.clockwork, stack.worker))
    check(stack, customer)


def test_clockwork_is_killed(stack: Stack, customer: Customer) -> None:
    """kill -9 of the clockwork: without anyone to ring, the workers' own pull carries on."""
    stack.clockwork.kill()
    customer.order_mix(20)
    customer.wait()
    assert not stack.clockwork.is_running
    check(stack, customer)


def test_everything_is_killed_at_once(stack: Stack, customer: Customer) -> None:
    """kill -9 of all six processes: what was answered is in the log, and the rest is found out."""
    prompts = ["a slow boat [[fal:slow=3]]", "a sunken boat [[fal:fail]]"]
    for prompt in 5 * prompts:
        customer.order(prompt)
    customer.order_mix(20)
    under_way = customer.open()
    assert under_way
    known = len(Log(customer).events)
    for part in (stack.ledger, stack.worker, stack.clockwork, stack.valkey, stack.fal):
        part.kill()
    stack.kill_postgres()
    stack.heal()
    assert len(Log(customer).events) >= known
    customer.wait()
    check(stack, customer)
