"""Holes 10 to 15 and 26: from the charge to the end of a generation, whatever happens between."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.fixtures.checker import Log, check
from tests.fixtures.customer import PRICE_CREDITS, Customer, Order
from tests.fixtures.hand_worker import FAILED, SUCCEEDED, HandWorker, StackHand
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.stack import Stack, eventually
from tests.fixtures.streaming import Stream

pytestmark = pytest.mark.slow


def status_of(stack: Stack, order: Order) -> str:
    """Where a generation stands, without asking the ledger for it."""
    query = "SELECT status FROM ledger.jobs WHERE generation_id = %s"
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        row = connection.execute(query, [order.generation_id]).fetchone()
    assert row is not None
    return str(row[0])


def test_hole_10_what_is_done_is_done(stack: Stack, customer: Customer) -> None:
    """Completing failed on a column that did not exist, so each poll did all its work again."""
    order = customer.order("a paper boat")
    customer.wait()
    log = check(stack, customer)
    files = sorted(path for path in stack.media.rglob("*") if path.is_file())
    path = f"/v1/generations/{order.generation_id}"
    seen = [expect(200, customer.caller.get(path)) for _ in range(20)]
    assert {read["status"] for read in seen} == {"succeeded"}
    assert len({read["updated_at"] for read in seen}) == 1
    assert Log(customer).of(order.generation_id) == log.of(order.generation_id)
    assert log.topics(order.generation_id)["generation_succeeded.v1"] == 1
    assert sorted(path for path in stack.media.rglob("*") if path.is_file()) == files


def test_hole_11_what_completes_without_a_result_has_failed(
    stack: Stack, customer: Customer
) -> None:
    """The provider has no failed state: what completed with an error was charged for, and stuck."""
    reasons = {
        "a sunken boat [[fal:fail]]": "internal_error",
        "a forbidden boat [[fal:422]]": "content_policy_violation",
        "[[fal:quiet-status]][[fal:fail=internal_server_error]]": "internal_server_error",
        "a boat that is not there [[fal:no-asset]]": "no_asset",
    }
    orders = {customer.order(prompt, "failed").generation_id: prompt for prompt in reasons}
    customer.wait()
    check(stack, customer)
    for key, prompt in orders.items():
        (submit,) = stack.submits(generation=key)
        assert submit["status"] == "COMPLETED"
        assert customer.generations()[key]["failure"]["reason"] == reasons[prompt]


def test_a_refused_submit_gives_back_what_was_charged(stack: Stack, customer: Customer) -> None:
    """A refusal paid back another amount than the charge, and a repeat told of a success."""
    order = customer.order("a boat [[fal:submit-422]]", "failed")
    customer.wait()
    check(stack, customer)
    assert stack.submits(generation=order.generation_id) == []
    shown = customer.generations()[order.generation_id]
    body = {
        "account_id": customer.account_id,
        "model": "veo-3.1-lite",
        "input": {"prompt": order.prompt},
    }
    again = expect(202, customer.caller.post("/v1/generations", body, key=order.key))
    assert again["generation"]["generation_id"] == order.generation_id
    assert customer.generations() == {order.generation_id: shown}
    assert (shown["status"], shown["attempts"]) == ("failed", 1)


def test_an_error_that_comes_late_is_refunded_once_and_told(
    stack: Stack, customer: Customer
) -> None:
    """An error after acceptance was never refunded: now its reason is kept and its owner told."""
    order = customer.order("[[fal:slow=3]][[fal:fail=generation_timeout]]", "failed")
    path = f"/v1/generations/{order.generation_id}/events"
    with customer.caller.http.stream("GET", path, timeout=30.0) as response:
        stream = Stream(response)
        while (told := stream.next())["data"].get("status") != "failed":
            assert told["event"] in {"generation", "progress"}
    failure = told["data"]["failure"]
    assert (failure["reason"], failure["retryable"]) == ("generation_timeout", True)
    assert told["data"]["refunded"] == told["data"]["charged"] > 0
    check(stack, customer)


def test_hole_12_a_crash_before_the_submit_is_made_good(
    stack: Stack, customer: Customer, by_hand: StackHand
) -> None:
    """Charged, and whoever should submit it died first: it was pending for ever."""
    order = customer.order("a paper boat")
    assert by_hand.claim(order.generation_id)["step"] == "submit"  # and never heard of again
    stack.lapse(order.generation_id)
    stack.worker.thaw()
    customer.wait()
    check(stack, customer)
    assert len(stack.submits(generation=order.generation_id)) == 1


def test_hole_12_a_crash_after_the_submit_is_made_good(
    stack: Stack, customer: Customer, by_hand: StackHand
) -> None:
    """Submitted, and the provider's id was lost on the way: charged, and pending for ever."""
    order = customer.order("a paper boat [[fal:no-webhook]]", "succeeded")
    claim = by_hand.claim(order.generation_id)
    request_id = by_hand.submit(claim)  # and nobody tells the ledger
    stack.lapse(order.generation_id)
    stack.worker.thaw()
    customer.wait()
    check(stack, customer)
    (submit,) = stack.submits(generation=order.generation_id)
    assert submit["request_id"] == request_id


def test_hole_13_an_unknown_submit_is_no_failure(stack: Stack, customer: Customer) -> None:
    """A submit without an answer was refunded at once, while the provider ran on and billed it."""
    order = customer.order("a boat [[fal:reset-submit]][[fal:no-webhook]]", "succeeded")
    path = f"/v1/generations/{order.generation_id}"
    while not (seen := expect(200, customer.caller.get(path)))["finished_at"]:
        assert seen["refunded"] == 0
        time.sleep(0.05)
    log = check(stack, customer)
    assert log.topics(order.generation_id)["submission_lost.v1"] == 1
    (submit,) = stack.submits(generation=order.generation_id)
    assert submit["billed"]
    assert customer.caller.balance(customer.account_id)["posted"] == (
        customer.granted - PRICE_CREDITS
    )


@pytest.mark.parametrize(
    "prompt", ["a paper boat", "a boat that nobody calls for [[fal:no-webhook]]"]
)
def test_hole_14_a_generation_advances_by_itself(
    stack: Stack, customer: Customer, prompt: str
) -> None:
    """Only the app's own polling moved a job on: with the app closed, nothing ever happened."""
    order = customer.order(prompt)
    eventually(lambda: status_of(stack, order) == "succeeded", "an end that nobody asks for")
    check(stack, customer)


def test_hole_14_a_failure_is_refunded_by_itself(stack: Stack, customer: Customer) -> None:
    """Only the app's own polling could find a failure, and it did not refund it either."""
    order = customer.order("a sunken boat [[fal:fail]]")
    eventually(lambda: status_of(stack, order) == "failed", "an end that nobody asks for")
    check(stack, customer)
    assert customer.caller.balance(customer.account_id)["posted"] == customer.granted


@pytest.mark.parametrize("late", [SUCCEEDED, FAILED])
def test_hole_15_the_first_verdict_stands(ledger: LiveLedger, late: dict[str, Any]) -> None:
    """Nothing compared the status before setting it: a late result could overwrite a failure."""
    first = FAILED if late is SUCCEEDED else SUCCEEDED
    generation_id, account_id, claim = claimed(ledger)
    worker = HandWorker(ledger.worker)
    expect(200, worker.report(claim, first))
    read = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    for _ in range(3):
        expect(200, worker.report(claim, late))
    after = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    for settled in ("status", "refunded", "refund_id", "failure", "finished_at"):
        assert after[settled] == read[settled]
    assert ledger.caller.balance(account_id)["posted"] == (100 if first is FAILED else 80)


def test_hole_15_two_at_once_finish_once(ledger: LiveLedger) -> None:
    """Two polls at once finalised a job twice."""
    generation_id, account_id, claim = claimed(ledger)
    worker = HandWorker(ledger.worker)
    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda n: worker.report(claim, (SUCCEEDED, FAILED)[n % 2]), range(20))
        )
    assert {answer.status_code for answer in answers} == {200}
    read = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    assert read["status"] in {"succeeded", "failed"}
    has_failed = read["status"] == "failed"
    assert (read["refunded"], read["result"] is None) == (20 * has_failed, has_failed)
    assert ledger.caller.balance(account_id)["posted"] == 80 + 20 * has_failed
    refunds = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/refunds"))["items"]
    assert len(refunds) == has_failed


def test_hole_26_updates_arrive_as_they_happen(ledger: LiveLedger) -> None:
    """Updates went to nobody, so that every client waited half a minute for them, then polled."""
    generation_id, _, claim = claimed(ledger)
    path = f"/v1/generations/{generation_id}/events"
    with ledger.caller.http.stream("GET", path, timeout=30.0) as response:
        stream = Stream(response)
        assert stream.next()["data"]["status"] == "submitting"
        expect(200, HandWorker(ledger.worker).report(claim, FAILED))
        while (told := stream.next())["data"].get("status") == "submitting":
            assert told["event"] == "generation"
        assert told["data"]["status"] == "failed"
        assert told["data"]["refunded"] == told["data"]["charged"]
        with pytest.raises(EOFError):
            stream.next()
    assert ledger.other.get(path).json()["code"] == "generation_not_found"


def claimed(ledger: LiveLedger) -> tuple[str, str, Any]:
    """A generation, the account of 100 credits that pays for it, and the claim of its submit."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    reply = expect(202, ledger.caller.post("/v1/generations", body))
    generation_id = reply["generation"]["generation_id"]
    return generation_id, account_id, HandWorker(ledger.worker).claim(generation_id)
