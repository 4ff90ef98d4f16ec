"""Cancelling and deleting: nobody pays for what did not come, and nothing stays that should go."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.checker import Log, check, check_replay
from tests.fixtures.customer import Customer, Order
from tests.fixtures.live import expect
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow


def cancel(customer: Customer, order: Order, status: int = 202) -> Any:
    """Ask for an order not to be made."""
    answer = customer.caller.post(f"/v1/generations/{order.generation_id}/cancel", {})
    return expect(status, answer)


def delete(customer: Customer, order: Order) -> Any:
    """Delete what was ordered."""
    return expect(200, customer.caller.http.delete(f"/v1/generations/{order.generation_id}"))


def balance(customer: Customer) -> int:
    """Credits that may be spent."""
    return int(customer.caller.balance(customer.account_id)["available"])


def is_running(customer: Customer, order: Order) -> bool:
    """The provider works on it."""
    return customer.statuses()[order.generation_id] == "running"


def test_what_no_provider_has_is_cancelled_at_once(stack: Stack, customer: Customer) -> None:
    """Before any submit: ended and refunded with the answer, never sent, harmless to repeat."""
    stack.worker.kill()
    order = customer.order("a paper boat", "cancelled")
    cancelled = cancel(customer, order)
    assert cancelled["status"] == "cancelled"
    assert cancelled["refunded"] == cancelled["charged"] > 0
    assert cancelled["failure"]["reason"] == "cancelled"
    assert balance(customer) == customer.granted
    assert cancel(customer, order) == cancelled
    stack.worker.start()
    other = customer.order("a paper boat")
    customer.wait(orders=[other])
    assert stack.submits(generation=order.generation_id) == []
    check(stack, customer)


def test_the_provider_decides_what_becomes_of_a_cancel(stack: Stack, customer: Customer) -> None:
    """What it stops is refunded, what it finishes all the same is delivered and paid for."""
    stopped = customer.order("a boat on a reef [[fal:stuck]]", "cancelled")
    finished = customer.order("a slow boat [[fal:slow=4]]", "succeeded")
    for order in (stopped, finished):
        eventually(lambda order=order: is_running(customer, order), "it runs")
        asked = cancel(customer, order)
        assert asked["cancel_requested_at"] is not None
        again = cancel(customer, order)
        assert again["cancel_requested_at"] == asked["cancel_requested_at"]
    customer.wait()
    problem = cancel(customer, finished, status=409)
    assert problem["code"] == "already_finished"
    log = check(stack, customer)
    for order in (stopped, finished):
        assert log.topics(order.generation_id)["cancel_requested.v1"] == 1
        (submit,) = stack.submits(generation=order.generation_id)
        assert submit["cancel_requested"] is True


def test_a_lost_submit_is_found_and_cancelled(stack: Stack, customer: Customer) -> None:
    """Its answer never came, so it is looked for first, and cancelled where it is."""
    order = customer.order("a boat in the fog [[fal:reset-submit]][[fal:stuck]]", "cancelled")
    cancel(customer, order)
    customer.wait()
    check(stack, customer)


def test_a_deleted_result_is_gone_and_its_cost_stays(stack: Stack, customer: Customer) -> None:
    """It is shown no more, its file is removed, its link is dead; the debit stands."""
    kept, gone = customer.order("a paper boat"), customer.order("a paper boat")
    customer.wait()
    shown = customer.generations()[gone.generation_id]
    url = shown["result"]["url"]
    assert httpx.get(url).status_code == 200
    deleted = delete(customer, gone)
    assert deleted["result"] is None
    assert deleted["charged"] == shown["charged"]
    assert list(customer.generations()) == [kept.generation_id]
    path = f"/v1/generations/{gone.generation_id}"
    assert customer.caller.get(path).json()["code"] == "generation_not_found"
    assert delete(customer, gone)["generation_id"] == gone.generation_id
    eventually(lambda: httpx.get(url).status_code == 404, "its file is gone")
    assert files_of(stack, gone) == []
    assert len(files_of(stack, kept)) == 1
    assert balance(customer) == customer.granted - 2 * shown["charged"]
    check_replay(stack)


def test_what_is_deleted_under_way_is_settled_unseen(stack: Stack, customer: Customer) -> None:
    """Cancelled first; the credits come back, or the result that came all the same is removed, in
    the end at the provider too."""
    stuck = customer.order("a boat on a reef [[fal:stuck]]", "cancelled")
    slow = customer.order("a slow boat [[fal:slow=3]]", "succeeded")
    for order in (stuck, slow):
        eventually(lambda order=order: is_running(customer, order), "it runs")
        delete(customer, order)
    assert customer.generations() == {}
    price = 20
    eventually(lambda: balance(customer) == customer.granted - price, "the stuck one came back")
    topics = {"media_removed.v1"}
    eventually(lambda: topics <= topics_of(customer, slow), "its media are removed")
    assert files_of(stack, slow) == []
    for order in (stuck, slow):
        eventually(lambda order=order: is_forgotten(stack, order), "the provider forgets it")
    check_replay(stack)


def test_results_go_when_they_were_kept_long_enough(stack: Stack, customer: Customer) -> None:
    """A tenant's policy says for how long; what was made before keeps its own time. The provider
    forgets what is removed."""
    before = customer.order("a paper boat")
    customer.wait()
    policy = expect(200, customer.caller.get("/v1/policies"))
    assert policy["media_retention_seconds"] is None
    try:
        replaced = customer.caller.http.put("/v1/policies", json={"media_retention_seconds": 1})
        assert expect(200, replaced)["policy"]["media_retention_seconds"] == 1
        after = customer.order("a paper boat")
        customer.wait()
    finally:
        expect(200, customer.caller.http.put("/v1/policies", json={}))

    def is_removed() -> bool:
        item = customer.generations()[after.generation_id]
        return item["media_removed_at"] is not None and item["result"] is None

    eventually(is_removed, "its media are removed")
    assert files_of(stack, after) == []
    assert customer.generations()[before.generation_id]["result"] is not None
    eventually(lambda: is_forgotten(stack, after), "the provider forgets it")
    assert not is_forgotten(stack, before)
    check_replay(stack)


def is_forgotten(stack: Stack, order: Order) -> bool:
    """Whether the provider has deleted what was sent to it."""
    (submit,) = stack.submits(generation=order.generation_id)
    return submit["input"] is None


def topics_of(customer: Customer, order: Order) -> set[str]:
    """The kinds of events of an order."""
    return set(Log(customer).topics(order.generation_id))


def files_of(stack: Stack, order: Order) -> list[Path]:
    """What lies in the storage for an order."""
    folder = Path(urlsplit(stack.env["STORAGE_URL"]).path) / order.generation_id
    return [file for file in folder.rglob("*") if file.is_file()]
