"""Reports that come twice, too late, or from a worker that has been replaced: one truth remains."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from contracts.limits import UNREPORTED_CLAIMS_MAX
from tests.fixtures.checker import Log, check
from tests.fixtures.customer import Customer
from tests.fixtures.hand_worker import FAILED, SUCCEEDED, StackHand
from tests.fixtures.live import expect
from tests.fixtures.relay import relay_to
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow


def test_duplicate_reports_change_nothing(stack: Stack, customer: Customer) -> None:
    """Each report is delivered twice on its way, and all of them again in any order when all is
    over: not one event more is written, and not one credit moves."""
    url = stack.env["LEDGER_URL"]
    with relay_to(url) as relay:
        with stack.told(stack.worker, LEDGER_URL=relay.url):
            customer.order_mix(30)
            customer.wait()
        check(stack, customer)
        known = Log(customer).events
        late = random.Random(7).sample(relay.reports, len(relay.reports))
        kinds = {kind for report in late for kind in report.kinds}
        assert kinds >= {"submitted", "succeeded", "failed"}
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(relay.send, 2 * late))
    assert {answer.status_code for answer in answers} == {200}
    results = [result for answer in answers for result in answer.json()["results"]]
    assert {(result["status"], result["body"]["accepted"]) for result in results} == {(200, False)}
    assert Log(customer).events == known
    check(stack, customer)


def test_a_failure_reported_many_times_at_once_is_refunded_once(
    customer: Customer, stack: Stack, by_hand: StackHand
) -> None:
    """Twenty simultaneous reports of one failure: one ending, one refund."""
    order = customer.order("a sunken boat", "failed")
    claim = by_hand.claim(order.generation_id)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: by_hand.report(claim, FAILED), range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert sum(answer.json()["accepted"] for answer in answers) == 1
    check(stack, customer)


def test_a_late_outcome_moves_no_credits(
    customer: Customer, stack: Stack, by_hand: StackHand
) -> None:
    """A success after the refund is kept as our cost, once, and never charged; a failure that
    comes after the success refunds nothing."""
    failed = customer.order("a sunken boat", "failed")
    claim = by_hand.claim(failed.generation_id)
    expect(200, by_hand.report(claim, FAILED))
    late = [expect(200, by_hand.report(claim, SUCCEEDED)) for _ in range(3)]
    assert [reply["accepted"] for reply in late] == [True, False, False]
    done = customer.order("a paper boat")
    stack.worker.thaw()
    customer.wait()
    (attempt,) = stack.submits(generation=done.generation_id)
    claim = {
        "generation_id": done.generation_id,
        "fence": "1.1",
        "attempt": {"attempt_id": attempt["tags"]["attempt"]},
    }
    assert expect(200, by_hand.report(claim, FAILED))["accepted"] is False
    log = check(stack, customer)
    assert log.topics(failed.generation_id)["late_fact_recorded.v1"] == 1
    assert log.topics(done.generation_id)["late_fact_recorded.v1"] == 0


def test_a_stale_fence_decides_nothing(
    customer: Customer, stack: Stack, by_hand: StackHand
) -> None:
    """A worker whose lease ran out and whose job another has taken may not end it, either way."""
    order = customer.order("a slow boat [[fal:slow=3]]")
    claim = by_hand.claim(order.generation_id)
    submitted = {"type": "submitted", "request_id": by_hand.submit(claim)}
    stale = expect(200, by_hand.report(claim, submitted))["next_claim"]
    stack.lapse(order.generation_id)
    newer = by_hand.claim(order.generation_id)
    assert newer["fence"] != stale["fence"]
    for event in (FAILED, SUCCEEDED, {"type": "cancelled"}, {"type": "renew"}):
        refused = by_hand.report(stale, event)
        assert (refused.status_code, refused.json()["code"]) == (409, "stale_fence")
    assert customer.open() == {order.generation_id: "submitted"}
    assert expect(200, by_hand.report(newer, {"type": "renew"}))["accepted"] is True
    stack.lapse(order.generation_id)
    stack.worker.thaw()
    customer.wait()
    check(stack, customer)


def test_a_zombie_comes_back(stack: Stack, customer: Customer) -> None:
    """A worker that is frozen past its leases and goes on later finds its work done by another:
    what it then says is no news, and it submits nothing a second time."""
    prompt = "a boat in the fog [[fal:slow-submit=4]][[fal:no-webhook]]"
    held = [customer.order(prompt, "succeeded").generation_id for _ in range(5)]
    customer.order_mix(15)
    eventually(lambda: all(stack.submits(generation=key) for key in held), "all submits")
    stack.worker.freeze()
    with stack.second_worker():
        customer.wait()
        log = check(stack, customer)
        assert all(log.topics(key)["submission_lost.v1"] for key in held)
        stack.worker.thaw()
        eventually(lambda: all(f"{key} attempt" in stack.worker.text() for key in held), "its word")
        time.sleep(1.0)
        assert Log(customer).events == log.events
    check(stack, customer)


def test_poison_ends_as_failed(customer: Customer, stack: Stack, by_hand: StackHand) -> None:
    """A generation that no worker comes back from is claimed only so often; then it fails, and is
    refunded."""
    order = customer.order("a boat that sinks its worker", "failed")
    for _ in range(UNREPORTED_CLAIMS_MAX):
        assert by_hand.claim(order.generation_id) is not None
        assert customer.open()
        stack.lapse(order.generation_id)
    assert by_hand.claim(order.generation_id) is None
    (generation,) = customer.generations().values()
    assert generation["failure"]["reason"] == "too_many_claims"
    check(stack, customer)
