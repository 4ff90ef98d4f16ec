"""Hole 29: what is told when something is refused, or fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

MEMBERS = {"type", "title", "status", "code", "detail", "instance"}
INNARDS = (
    "psycopg",
    "Traceback",
    "SELECT",
    "ledger.heads",
    "ledger.events",
    "msgspec",
    "relation",
    "litestar",
)


def ordering(account_id: str, **content: Any) -> dict[str, Any]:
    """The body of an order."""
    return {"account_id": account_id, "model": "veo-3.1-lite", "input": content}


def test_hole_29_a_refused_spend_tells_the_true_numbers(ledger: LiveLedger) -> None:
    """402 always said that no credits were left, whatever there was."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    ledger.caller.grant(account_id, 90, restrict_to=["image"])
    ledger.caller.grant(account_id, 500, effective_at="2100-01-01T00:00:00Z")
    order = ledger.caller.post("/v1/generations", ordering(account_id, prompt="a boat"))
    told = expect(402, order)
    assert told["code"] == "insufficient_credits"
    assert (told["available"], told["required"], told["shortfall"]) == (10, 20, 10)
    debits = f"/v1/accounts/{account_id}/debits"
    body = {"amount": 101, "reason": "print", "tags": ["image"]}
    told = expect(402, ledger.caller.post(debits, body))
    assert (told["available"], told["required"], told["shortfall"]) == (100, 101, 1)
    ledger.caller.debit(account_id, 100, tags=["image"])


def test_hole_29_a_problem_says_what_it_is_and_nothing_of_our_innards(ledger: LiveLedger) -> None:
    """Raw messages of the database were handed to callers."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    path = f"/v1/accounts/{account_id}"
    answers = [
        ledger.caller.post(f"{path}/debits", {"amount": 10**30, "reason": "much"}),
        ledger.caller.post(f"{path}/debits", {"amount": 1, "reason": "a\x00b"}),
        ledger.caller.post(
            f"{path}/debits", {"amount": 1, "reason": "'; DROP TABLE events; --" * 9}
        ),
        ledger.caller.post(f"{path}/debits/dbt_'/refunds", {"reason": "quote"}),
        ledger.caller.post("/v1/accounts", {"account_id": account_id}),
        ledger.caller.post("/v1/generations", ordering(account_id, prompt="a\x00b")),
        ledger.caller.get(f"{path}/entries", cursor="' OR 1=1"),
        ledger.caller.get(f"{path}/grants/grt_%00"),
        ledger.caller.get("/v1/accounts/a%00b"),
        ledger.caller.get("/v1/events", after=10**30),
        ledger.caller.get("/v1/nowhere"),
        ledger.nobody.get(path),
    ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json().keys() >= MEMBERS
        assert [word for word in INNARDS if word in answer.text] == [], answer.text
    assert ledger.caller.balance(account_id)["posted"] == 10


def test_hole_29_a_failure_has_a_reason_that_is_ours(ledger: LiveLedger) -> None:
    """Callers had to make sense of whatever text the provider's error contained."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 20)
    order = ledger.caller.post("/v1/generations", ordering(account_id, prompt="a boat"))
    generation_id = expect(202, order)["generation"]["generation_id"]
    failed = {"type": "failed", "reason": "content_policy_violation", "retryable": False}
    expect(200, worker.report(worker.claim(generation_id), failed))
    failure = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))["failure"]
    assert (failure["reason"], failure["retryable"]) == ("content_policy_violation", False)
    assert failure["message"].endswith("The credits came back.")


@pytest.mark.parametrize("field", ["image_url", "webhook_url", "fal_webhook", "file", "url"])
def test_hole_29_no_address_is_fetched_that_no_model_takes(ledger: LiveLedger, field: str) -> None:
    """Any address could be passed on as the input image's."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    inputs = {"prompt": "a boat", field: "http://169.254.169.254/latest/meta-data"}
    answer = ledger.caller.post("/v1/generations", ordering(account_id, **inputs))
    told = expect(400, answer)
    assert told["code"] == "validation_failed"
    assert told["errors"]
    assert ledger.caller.balance(account_id)["posted"] == 100


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest/meta-data", "https://127.0.0.1/", "file:///etc/passwd"],
)
def test_hole_29_an_input_image_comes_from_the_public_web(ledger: LiveLedger, address: str) -> None:
    """Where a model takes an image, any address was passed on to be fetched."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    body = ordering(account_id, prompt="a boat", image_url=address)
    body["model"] = "veo-3.1-lite-image-to-video"
    told = expect(400, ledger.caller.post("/v1/generations", body))
    assert {error["pointer"] for error in told["errors"]} == {"/input/image_url"}
    assert ledger.caller.balance(account_id)["posted"] == 100
