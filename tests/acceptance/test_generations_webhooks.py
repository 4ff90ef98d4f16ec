"""Webhooks that misbehave, from the provider's emulator to the last credit: whatever they say,
each generation ends as it should, and only what the provider signed for us is believed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.test_generations_without_an_answer import finders
from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer, Order
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

PROVIDER = "provider:fal"
NOT_BELIEVED = ("bad-signature", "other-user", "wrong-request-id")
NOBODY = "http://127.0.0.1:1/jwks.json"


@pytest.fixture
def unworried(stack: Stack) -> Stack:
    """A ledger that may ask for the provider's keys, as it does once a minute for signatures that
    none of them verifies: of what its neighbours had forged, nothing is delivered any more."""
    httpx.post(f"{stack.fal_url}/admin/reset", json={}, trust_env=False).raise_for_status()
    stack.ledger.stop()
    stack.ledger.start()
    return stack


def answers(stack: Stack, order: Order) -> list[str | None]:
    """What the ledger last answered to each webhook of an order; null: nothing yet."""
    submits = stack.submits(generation=order.generation_id)
    return [webhook["last_answer"] for submit in submits for webhook in submit["webhooks"]]


def told(stack: Stack, order: Order, status: str = "200", count: int = 1) -> None:
    """Wait until all webhooks of an order were answered like this."""
    eventually(lambda: answers(stack, order) == [status] * count, f"{status} for {order.prompt}")


def test_a_genuine_webhook_is_taken(stack: Stack, customer: Customer) -> None:
    """Signed by the provider for our user: a success, a failure, one without a payload, one that
    comes twice, and one that is late are all answered with 200."""
    orders = [
        customer.order("a paper boat"),
        customer.order("a sunken boat [[fal:fail]]"),
        customer.order("a boat without words [[fal:webhook-no-payload]]", "succeeded"),
    ]
    twice = customer.order("a boat seen twice [[fal:webhook-twice]]")
    late = customer.order("a boat of yesterday [[fal:webhook-late=5]]", "succeeded")
    customer.wait()
    for order in (*orders, late):
        told(stack, order)
    told(stack, twice, count=2)
    check(stack, customer)


def test_a_webhook_that_is_not_ours_changes_nothing(stack: Stack, customer: Customer) -> None:
    """A bad signature, another user's id, another request in the body: refused. The generation is
    polled, or found in the provider's listing, as if no webhook had come."""
    plain = [customer.order(f"a boat [[fal:webhook-{kind}]]", "succeeded") for kind in NOT_BELIEVED]
    lost = [
        customer.order(f"a boat [[fal:lost-submit]][[fal:webhook-{kind}]]", "succeeded")
        for kind in NOT_BELIEVED
    ]
    customer.wait()
    for order in (*plain, *lost):
        told(stack, order, "403")
    log = check(stack, customer)
    assert all(PROVIDER not in actors(log, order) for order in customer.orders)


def test_an_old_webhook_names_no_request(stack: Stack, customer: Customer) -> None:
    """Signed an hour ago: a hint to look, which is taken, and no proof of what it says."""
    plain = customer.order("a boat [[fal:webhook-old-timestamp]]", "succeeded")
    lost = customer.order("a boat [[fal:lost-submit]][[fal:webhook-old-timestamp]]", "succeeded")
    customer.wait()
    log = check(stack, customer)
    for order in (plain, lost):
        told(stack, order)
        assert PROVIDER not in finders(log, order.generation_id)


def test_a_rotated_key_is_taken_up(unworried: Stack, customer: Customer) -> None:
    """A lost submit is found by a webhook under a key that the ledger had not known before."""
    stack = unworried
    before = customer.order("a paper boat")
    told(stack, before)
    known = keys(stack)
    after = customer.order("a boat [[fal:lost-submit]][[fal:webhook-rotated-key]]", "succeeded")
    told(stack, after)
    assert keys(stack)[:-1] == known[-1:]
    customer.wait()
    log = check(stack, customer)
    assert PROVIDER in finders(log, after.generation_id)


def test_a_webhook_before_the_submits_answer_counts_if_it_is_genuine(
    unworried: Stack, customer: Customer
) -> None:
    """The provider's webhook names the request before its answer does; an old one and a forged one
    name nothing, and the answer is believed when it comes."""
    stack = unworried
    first = customer.order("an early boat [[fal:webhook-first]]", "succeeded")
    others = [
        customer.order(f"an early boat [[fal:webhook-first]][[fal:webhook-{kind}]]", "succeeded")
        for kind in ("old-timestamp", "bad-signature")
    ]
    customer.wait()
    log = check(stack, customer)
    assert finders(log, first.generation_id)[0] == PROVIDER
    assert all(PROVIDER not in finders(log, order.generation_id) for order in others)


def test_a_webhook_for_an_unknown_job_changes_nothing(stack: Stack, customer: Customer) -> None:
    """Genuine, and about a request that we never made: what is known of the attempt stands."""
    order = customer.order("a strange boat [[fal:webhook-unknown-job]]", "succeeded")
    customer.wait()
    told(stack, order)
    log = check(stack, customer)
    assert PROVIDER not in actors(log, order)


def test_a_webhook_after_a_cancel_changes_nothing(stack: Stack, customer: Customer) -> None:
    """The generation has long ended when somebody cancels its job, and a webhook follows."""
    done = customer.order("a boat [[fal:webhook-after-cancel]]", "succeeded")
    failed = customer.order("a boat [[fal:fail]][[fal:webhook-after-cancel]]", "failed")
    customer.wait()
    log = check(stack, customer)
    for order in (done, failed):
        assert answers(stack, order) == [None]
        assert cancel(stack, order).json() == {"status": "ALREADY_COMPLETED"}
        told(stack, order)
    assert Log(customer).events == log.events
    check(stack, customer)


@pytest.mark.parametrize(
    "settings",
    [
        {"WEBHOOK_BASE_URL": "", "FAL_WEBHOOK_JWKS_URL": NOBODY},
        {"FAL_WEBHOOK_JWKS_URL": NOBODY},
    ],
    ids=["without webhooks", "without keys"],
)
def test_polling_alone_is_as_good(
    stack: Stack, customer: Customer, settings: dict[str, str]
) -> None:
    """With no webhooks at all, and with none that can be verified, everything ends as it should;
    without webhooks nobody asks for keys."""
    with stack.told(stack.ledger, **settings):
        orders = customer.order_mix(10)
        customer.wait()
        log = check(stack, customer)
        assert all(PROVIDER not in actors(log, order) for order in orders)
        seen = {answer for order in orders for answer in answers(stack, order)} - {None}
        assert seen == (set() if "WEBHOOK_BASE_URL" in settings else {"503"})
        asked = "the keys of webhooks cannot be had" in stack.ledger.text()
        assert asked is ("WEBHOOK_BASE_URL" not in settings)


def actors(log: Log, order: Order) -> list[str]:
    """Who caused the events of a generation."""
    return [event["actor"] for event in log.of(order.generation_id)]


def keys(stack: Stack) -> list[Any]:
    """The provider's published keys."""
    found: list[Any] = httpx.get(f"{stack.fal_url}/.well-known/jwks.json", trust_env=False).json()[
        "keys"
    ]
    return found


def cancel(stack: Stack, order: Order) -> httpx.Response:
    """Ask the provider to cancel an order's job, as an operator might."""
    (submit,) = stack.submits(generation=order.generation_id)
    application = "/".join(submit["endpoint"].split("/")[:2])
    key = stack.worker.command.env["FAL_KEY"]
    return httpx.put(
        f"{stack.fal_url}/{application}/requests/{submit['request_id']}/cancel",
        headers={"Authorization": f"Key {key}"},
        trust_env=False,
    )
