"""`python -m job_worker reconcile` over the whole stack: no drift, or it is found and named."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.customer import Customer, Order
from tests.fixtures.hand_worker import FAILED, REFUSED, SUCCEEDED, StackHand
from tests.fixtures.live import Caller, expect
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

VIDEO = "fal-ai/veo3.1/lite"


class Reconciling:
    """Compares what happened on a stack since it was made."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.since = datetime.now(UTC)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command with the worker's environment, some of it replaced."""
        usual = self.stack.worker.command
        given = {**usual.env, "LEDGER_AUDIT_KEY": self.stack.env["LEDGER_API_KEY"], **env}
        command = [sys.executable, "-m", "job_worker", "reconcile", *arguments]
        command += ["--since", self.since.isoformat()]
        return subprocess.run(
            command, env=given, cwd=usual.cwd, capture_output=True, text=True, timeout=60
        )

    def findings(self) -> dict[str, list[dict[str, Any]]]:
        """All examples by what drifts; the exit status must agree."""
        done = self.run("--json")
        assert done.returncode == 1, done.stdout + done.stderr
        report = httpx.Response(200, text=done.stdout).json()
        found = {finding["drift"]: finding["examples"] for finding in report["findings"]}
        counts = {finding["drift"]: finding["count"] for finding in report["findings"]}
        assert {drift: len(examples) for drift, examples in found.items()} == counts
        return found


@pytest.fixture
def reconciling(stack: Stack) -> Reconciling:
    """What other tests did to the stack before is not looked at."""
    return Reconciling(stack)


def submit(stack: Stack, tags: str) -> str:
    """Submit behind the ledger's back, under its key; returns the request id."""
    headers = {"Authorization": f"Key {stack.worker.command.env['FAL_KEY']}"}
    headers |= {"X-Fal-Tags": tags} if tags else {}
    body = {"prompt": "a boat that nobody ordered"}
    url = f"{stack.fal_url}/{VIDEO}"
    answer = httpx.post(url, json=body, headers=headers, trust_env=False)
    return str(expect(200, answer)["request_id"])


def file_of(stack: Stack, order: Order) -> Path:
    """The stored asset of a success."""
    (file,) = (stack.media / order.generation_id).iterdir()
    return file


def attempt_of(stack: Stack, order: Order) -> str:
    """The attempt that was submitted for an order."""
    (found,) = stack.submits(generation=order.generation_id)
    return str(found["tags"]["attempt"])


def test_a_clean_run_reconciles_to_nothing(
    stack: Stack, customer: Customer, reconciling: Reconciling
) -> None:
    """Successes, failures, and submits whose answers were lost: all sides tell the same story."""
    prompts = (
        "a paper boat",
        "a sunken boat [[fal:fail]]",
        "a boat in the fog [[fal:reset-submit]]",
    )
    for prompt in prompts:
        customer.order(prompt)
    customer.wait()
    done = reconciling.run()
    assert done.returncode == 0, done.stdout + done.stderr
    _, ledger, *others = done.stdout.splitlines()
    assert ledger.startswith("ledger    3 generations, ")  # attempts may have been held back
    assert others == [
        "provider  3 requests, 0 of them without a mark of ours",
        "storage   2 files",
        "nothing drifts",
    ]


def test_drift_of_files_and_submits_is_found_and_named(
    stack: Stack, customer: Customer, reconciling: Reconciling
) -> None:
    """Lost, changed, foreign and unremoved files; submits that the ledger did not make; payloads
    that the provider keeps."""
    lost, changed, doubled, removed = [customer.order("a paper boat") for _ in range(4)]
    customer.wait()
    lost_file, changed_file = file_of(stack, lost), file_of(stack, changed)
    lost_file.unlink()
    changed_file.write_bytes(b"half a boat")
    (stack.media / "holiday.mp4").write_bytes(b"a foreign boat")
    removed_file = file_of(stack, removed)
    expect(200, customer.caller.http.delete(f"/v1/generations/{removed.generation_id}"))
    eventually(lambda: removal_is_recorded(stack, removed), "the removal of a deleted file")
    eventually(lambda: give_up(stack, removed), "the wish to forget it")
    removed_file.parent.mkdir(exist_ok=True)
    removed_file.write_bytes(b"a boat that is back")
    attempt_id = attempt_of(stack, doubled)
    twin = submit(stack, f"generation={doubled.generation_id},attempt={attempt_id}")
    stranger = submit(stack, f"generation={doubled.generation_id},attempt=att_nobody")
    submit(stack, "")  # bears no mark of ours: nobody can tell whose it is
    try:
        found = reconciling.findings()
        text = reconciling.run("--examples", "0").stdout
    finally:
        (stack.media / "holiday.mp4").unlink()
        removed_file.unlink()
    assert set(found) == {
        *("missing_file", "wrong_size", "foreign_file", "unremoved_file"),
        *("repeated_submit", "unknown_request", "kept_payloads"),
    }
    assert found["kept_payloads"] == [
        {"generation_id": removed.generation_id, "reason": "http_403"}
    ]
    assert [each["generation_id"] for each in found["missing_file"]] == [lost.generation_id]
    (resized,) = found["wrong_size"]
    assert (resized["generation_id"], resized["stored_bytes"]) == (changed.generation_id, 11)
    assert found["foreign_file"] == [{"key": "holiday.mp4", "size_bytes": 14}]
    assert [each["generation_id"] for each in found["unremoved_file"]] == [removed.generation_id]
    (repeated,) = found["repeated_submit"]
    assert (repeated["attempt_id"], repeated["request_ids"][1:]) == (attempt_id, [twin])
    (unknown,) = found["unknown_request"]
    assert (unknown["request_id"], unknown["attempt_id"]) == (stranger, "att_nobody")
    assert "7 requests, 1 of them without a mark of ours" in text
    assert "DRIFT missing_file 1: " in text
    assert "  and 1 more" in text


def removal_is_recorded(stack: Stack, order: Order) -> bool:
    """Whether the ledger says that nothing is left of an order's media."""
    query = "SELECT count(*) FROM ledger.events WHERE topic = %s AND stream LIKE %s"
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        row = connection.execute(query, ["media_removed.v1", f"%/{order.generation_id}"]).fetchone()
    return row is not None and row[0] == 1


def give_up(stack: Stack, order: Order) -> bool:
    """Have the ledger believe that the provider could not be made to forget an order."""
    query = """UPDATE ledger.forgettings SET outcome = 'given_up', reason = 'http_403',
        due_at = null, ended_at = clock_timestamp() WHERE generation_id = %s"""
    with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
        return connection.execute(query, [order.generation_id]).rowcount == 1


def test_costs_that_nobody_paid_for_are_found_and_named(
    stack: Stack, customer: Customer, by_hand: StackHand, reconciling: Reconciling
) -> None:
    """What the provider made after the refund, known to the ledger or not; what it has although it
    was said not to; and what it does not have although it was said to."""
    refunded, late, abandoned, unlisted = [
        customer.order("a paper boat", ending)
        for ending in ("expired", "expired", "failed", "failed")
    ]
    claims = [by_hand.claim(order.generation_id) for order in customer.orders]
    requests = [by_hand.submit(claim) for claim in claims[:3]]
    for claim, request_id in zip(claims[:2], requests, strict=False):
        expect(200, by_hand.report(claim, {"type": "submitted", "request_id": request_id}))
        expire(stack, customer, claim["generation_id"])
    assert expect(200, by_hand.report(claims[1], SUCCEEDED | {"billable_units": "8"}))["accepted"]
    expect(200, by_hand.report(claims[2], REFUSED))
    told = by_hand.report(claims[3], {"type": "submitted", "request_id": "req-nobody"})
    expect(200, by_hand.report(expect(200, told)["next_claim"], FAILED))
    customer.wait()
    eventually(lambda: all(is_made(stack, each) for each in requests), "what was submitted")
    found = reconciling.findings()
    assert {drift: [each["generation_id"] for each in found[drift]] for drift in found} == {
        "refunded_request": [refunded.generation_id],
        "late_success": [late.generation_id],
        "abandoned_request": [abandoned.generation_id],
        "unlisted_attempt": [unlisted.generation_id],
    }
    assert found["refunded_request"][0]["request_id"] == requests[0]
    assert found["refunded_request"][0]["ending"] == "expired"
    # Where absence proves nothing, an attempt that is not listed is counted and no drift.
    unsure = reconciling.run(PROVIDER_LISTING_COMPLETE="0")
    assert "unlisted_attempt" not in unsure.stdout
    assert "1 attempts are not in the provider's listing" in unsure.stdout
    margins = stack.run("prices", "margin", "--json", "--since", reconciling.since.isoformat())
    assert httpx.Response(200, text=margins).json()["ours"] == [
        {"reason": reason, "model": "veo-3.1-lite", "generations": 1, "units": units,
         "cost_micros": None}
        for reason, units in (("expired_open", "0"), ("late_success", "8"))
    ]  # fmt: skip


def expire(stack: Stack, customer: Customer, generation_id: str) -> None:
    """Let a generation's deadline, and then its grace, pass now."""
    query = """UPDATE ledger.jobs SET deadline = clock_timestamp()
        WHERE generation_id = %s AND due_at IS NOT NULL"""

    def is_expired() -> bool:
        with psycopg.connect(stack.env["DATABASE_URL"]) as connection:
            connection.execute(query, [generation_id])
        return customer.statuses()[generation_id] == "expired"

    eventually(is_expired, f"the end of {generation_id}")


def is_made(stack: Stack, request_id: str) -> bool:
    """Whether the provider has completed a request."""
    return any(
        submit["request_id"] == request_id and submit["status"] == "COMPLETED"
        for submit in stack.submits()
    )


def test_a_worker_compares_every_day_unasked(stack: Stack) -> None:
    """Soon after its start it has compared the last day; there is nothing more to compare until the
    next one, and a single report of it."""

    def reported() -> list[Any]:
        with Caller(stack.env["LEDGER_URL"], stack.env["LEDGER_OPERATE_KEY"]).http as http:
            items = expect(200, http.get("/v1/reconciliations"))["items"]
        return [day for day in items if day["report"] is not None]

    eventually(reported, "a day that was compared")
    (day,) = reported()
    assert day["trouble"] is None
    assert day["report"]["since"].startswith(day["day"])
    assert day["report"]["findings"] == []
    with Caller(stack.env["LEDGER_URL"], stack.env["LEDGER_WORK_KEY"]).http as http:
        asked = http.post("/v1/work/reconciliations", json={"worker": "another one"})
    assert expect(200, asked)["claim"] is None


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"LEDGER_AUDIT_KEY": "ck_0_0"}, "the ledger could not be read: "),
        ({"LEDGER_AUDIT_KEY": ""}, "LEDGER_AUDIT_KEY is not set"),
        ({"FAL_API_URL": "http://127.0.0.1:1/v1"}, "the provider could not be read: Client"),
        ({"STORAGE_URL": "file:///nobody/made/this"}, "the storage could not be read: "),
    ],
)
def test_a_side_that_cannot_be_read_is_named(
    reconciling: Reconciling, env: dict[str, str], told: str
) -> None:
    """Exit status 2, whatever else there may be to say: half a comparison is none."""
    done = reconciling.run(**env)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
