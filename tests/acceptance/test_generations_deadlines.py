"""Deadlines: nothing is stuck for ever, and nobody pays for what never came."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer, Order
from tests.fixtures.stack import GRACE_SECONDS, Stack, eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("impatient")]

DEADLINE_SECONDS = 3
ENDLESS = {
    "stuck": "[[fal:stuck]]",
    "stuck-in-queue": "[[fal:stuck-in-queue]]",
    "quiet-status": "[[fal:quiet-status]]",
    "media-truncated": "[[fal:media-truncated]]",
    "drop-submit": "[[fal:drop-submit]]",
    **{f"submit-{status}": f"[[fal:submit-{status}]]" for status in (500, 502, 503, 504)},
}
"""What comes to no end before the deadline, by its name."""


@pytest.fixture(scope="module")
def impatient(shared_stack: Stack) -> Iterator[None]:
    """A ledger that gives each generation 3 s."""
    ledger = shared_stack.ledger
    with shared_stack.told(ledger, GENERATION_DEADLINE_SECONDS=str(DEADLINE_SECONDS)):
        yield


def test_stuck_jobs_are_cancelled_at_their_deadline(stack: Stack, customer: Customer) -> None:
    """Past the deadline the provider is asked to cancel: what it cancels is expired and refunded,
    and what it finishes all the same is delivered and stays paid."""
    for _ in range(4):  # all of them at once fit into the provider's queue
        customer.order("a boat on a reef [[fal:stuck]]", "expired")
        customer.order("a slow boat [[fal:slow=6]]", "succeeded")
    customer.wait()
    log = check(stack, customer)
    for order in customer.orders:
        assert log.topics(order.generation_id)["deadline_passed.v1"] == 1
        (submit,) = stack.submits(generation=order.generation_id)
        assert submit["cancel_requested"] is True
        assert submit["billed"] is (order.ending == "succeeded")


def test_a_webhook_that_follows_the_cancel_is_no_second_ending(
    stack: Stack, customer: Customer
) -> None:
    """The provider calls only once it was asked to cancel: what was cancelled is refunded once, and
    what was finished all the same stays paid."""
    cancelled = customer.order("a reef [[fal:stuck]][[fal:webhook-after-cancel]]", "expired")
    finished = customer.order("a slow boat [[fal:slow=6]][[fal:webhook-after-cancel]]", "succeeded")
    customer.wait()
    eventually(lambda: was_told(stack, cancelled), "the webhook of the cancelled job")
    eventually(lambda: was_told(stack, finished), "the webhook of the finished job")
    check(stack, customer)


def was_told(stack: Stack, order: Order) -> bool:
    """Whether the ledger has taken the order's webhook."""
    submits = stack.submits(generation=order.generation_id)
    return [webhook["last_answer"] for submit in submits for webhook in submit["webhooks"]] == [
        "200"
    ]


def test_a_silent_provider_is_given_up_after_the_grace(stack: Stack, customer: Customer) -> None:
    """With the provider gone at the deadline, its verdict is waited for until the grace is over;
    then the generation is expired and refunded, once, whatever comes later."""
    for _ in range(5):
        customer.order("a slow boat [[fal:slow=8]]", "expired")
    ordered_at = time.monotonic()
    eventually(lambda: set(customer.open().values()) == {"running"}, "all are running")
    stack.fal.kill()
    customer.wait()
    assert time.monotonic() - ordered_at > DEADLINE_SECONDS + GRACE_SECONDS
    stack.fal.start()
    eventually(lambda: not unfinished(stack, customer), "results that come too late")
    log = check(stack, customer)
    time.sleep(1.0)
    assert Log(customer).events == log.events
    reasons = {item["failure"]["reason"] for item in customer.generations().values()}
    assert reasons == {"deadline"}


def unfinished(stack: Stack, customer: Customer) -> list[str]:
    """The customer's jobs that the provider still works on."""
    submits = [stack.submits(generation=order.generation_id) for order in customer.orders]
    return [submit["request_id"] for (submit,) in submits if submit["status"] != "COMPLETED"]


def test_no_deadline_passes_while_nobody_works(stack: Stack, customer: Customer) -> None:
    """With all workers gone for 30 s, generations wait past their deadline: they are not ended
    because nobody could do them."""
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


@pytest.fixture(scope="module")
def given_up(shared_stack: Stack, impatient: None) -> Iterator[Customer]:
    """A customer who ordered one of each that never ends, and waited for the deadline."""
    assert impatient is None
    shared_stack.heal()
    customer = Customer(shared_stack)
    for text in ENDLESS.values():
        customer.order(text, "expired")
    customer.wait()
    yield customer
    customer.caller.http.close()
    shared_stack.forget_troubles()


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_given_up(given_up: Customer, name: str) -> None:
    """A job that is stuck, a result or a file that cannot be had, a submit of which nobody knows:
    past deadline and grace it has expired, and is refunded."""
    (order,) = (order for order in given_up.orders if order.prompt == ENDLESS[name])
    generation = given_up.generations()[order.generation_id]
    assert (generation["status"], generation["failure"]["reason"]) == ("expired", "deadline")
    assert Log(given_up).refunds(generation["debit_id"]) == [generation["charged"]]
