"""Grants, debits and refunds over HTTP: the promised shapes, once, and byte for byte again."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest

from ledger_service.api.operations import operations
from ledger_service.app import CONTROLLERS
from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

NO_CREDITS = {
    "posted": 0,
    "held": 0,
    "available": 0,
    "debt": 0,
    "credit_limit": 0,
    "pending_expiry": 0,
}


def test_the_first_grant_opens_the_account(ledger: LiveLedger) -> None:
    """A grant to an account that nobody opened opens it, and its reply shows both."""
    account_id = new_account()
    reply = ledger.caller.grant(account_id, 100, metadata={"why": "welcome"}, reference="ref-1")
    account, grant = reply["account"], reply["grant"]
    assert account["account_id"] == account_id
    assert account["balance"] == {**NO_CREDITS, "posted": 100, "available": 100}
    assert (account["version"], account["position"]) == (2, reply["position"])
    assert (grant["remaining"], grant["metadata"]) == (100, {"why": "welcome"})
    assert reply["recorded_at"].endswith("Z")
    assert expect(200, ledger.caller.get(f"/v1/accounts/{account_id}")) == account


def test_an_account_is_opened_once(ledger: LiveLedger) -> None:
    """Opening answers 201 with the account; opening it again is a conflict."""
    body = {"account_id": new_account(), "credit_limit": 50, "metadata": {"plan": "trial"}}
    account = expect(201, ledger.caller.post("/v1/accounts", body))["account"]
    assert account["balance"] == {**NO_CREDITS, "available": 50, "credit_limit": 50}
    problem = expect(409, ledger.caller.post("/v1/accounts", body))
    assert problem["code"] == "account_exists"


def test_a_credit_limit_lets_an_account_go_below_zero(ledger: LiveLedger) -> None:
    """After PATCH the limit counts at once; the debt shows, and the next grant repays it."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    path = f"/v1/accounts/{account_id}"
    changed = expect(200, ledger.caller.http.patch(path, json={"credit_limit": 50}))
    assert changed["account"]["balance"]["available"] == 60
    spent = ledger.caller.debit(account_id, 40)
    assert [part["amount"] for part in spent["debit"]["lots"]] == [10]
    assert spent["account"]["balance"]["debt"] == 30
    granted = ledger.caller.grant(account_id, 25)
    assert granted["grant"]["remaining"] == 0
    assert ledger.caller.balance(account_id)["posted"] == -5


def test_a_spend_beyond_the_balance_tells_the_true_numbers(ledger: LiveLedger) -> None:
    """402 says what is available, what was required and what is missing; nothing changes."""
    account_id = new_account()
    ledger.caller.grant(account_id, 20)
    body = {"amount": 30, "reason": "too-much"}
    problem = expect(402, ledger.caller.post(f"/v1/accounts/{account_id}/debits", body))
    numbers = {name: problem[name] for name in ("available", "required", "shortfall")}
    assert problem["code"] == "insufficient_credits"
    assert numbers == {"available": 20, "required": 30, "shortfall": 10}
    assert ledger.caller.balance(account_id)["posted"] == 20


def test_a_refund_goes_back_where_the_credits_came_from(ledger: LiveLedger) -> None:
    """Without an amount all that is left comes back; more than that never does."""
    account_id = new_account()
    grant_id = ledger.caller.grant(account_id, 100)["grant"]["grant_id"]
    debit_id = ledger.caller.debit(account_id, 60)["debit"]["debit_id"]
    first = ledger.caller.refund(account_id, debit_id, amount=10)["refund"]
    assert first["lots"] == [{"grant_id": grant_id, "amount": 10}]
    assert ledger.caller.refund(account_id, debit_id)["refund"]["amount"] == 50
    assert ledger.caller.balance(account_id)["available"] == 100
    path = f"/v1/accounts/{account_id}/debits/{debit_id}/refunds"
    problem = expect(409, ledger.caller.post(path, {"reason": "again"}))
    assert (problem["code"], problem["refundable"]) == ("refund_exceeds_debit", 0)


@pytest.mark.parametrize("reason", ["code-like_1", "Because the customer, Ms. Doe, asked for it"])
def test_a_reason_comes_back_as_it_was_given(ledger: LiveLedger, reason: str) -> None:
    """Codes stay in the log; free text may name a person and is kept in the vault."""
    account_id = new_account()
    ledger.caller.grant(account_id, 5)
    debit = ledger.caller.debit(account_id, 5, reason=reason, metadata={"n": 1})["debit"]
    assert (debit["reason"], debit["metadata"]) == (reason, {"n": 1})
    path = f"/v1/accounts/{account_id}/debits/{debit['debit_id']}"
    assert expect(200, ledger.caller.get(path)) == debit
    with ledger.database.connect() as connection:
        stored = connection.execute(
            "SELECT string_agg(convert_from(state, 'UTF8'), ' ') FROM ledger.events"
            " WHERE owner = %s",
            (f"demo/{account_id}",),
        ).fetchone()
    assert stored is not None
    assert (reason in stored[0]) == (" " not in reason)


INPUT = {"prompt": "a boat", "duration": "4s", "seed": 7}


def backwards(document: Any) -> Any:
    """The same JSON with the names of all its objects in reverse order."""
    if not isinstance(document, dict):
        return document
    return {name: backwards(value) for name, value in reversed(document.items())}


def requests_of_every_kind(ledger: LiveLedger) -> list[tuple[str, dict[str, Any]]]:
    """A path and body for every operation that takes a key, on an account with credits."""
    account_id, other_id = new_account(), new_account()
    path, other = f"/v1/accounts/{account_id}", f"/v1/accounts/{other_id}"
    expect(201, ledger.caller.post("/v1/accounts", {"account_id": other_id, "credit_limit": 99}))
    ledger.caller.debit(other_id, 50)
    grant_id = ledger.caller.grant(account_id, 1000, metadata={"b": 1, "a": 2})["grant"]["grant_id"]
    debit_id = ledger.caller.debit(account_id, 100)["debit"]["debit_id"]
    order = {"account_id": account_id, "model": "veo-3.1-lite", "input": INPUT}
    made = expect(202, ledger.caller.post("/v1/generations", order))["generation"]
    held = {"amount": 5, "reason": "free text, ünïcode", "metadata": {"b": 2, "a": True}}
    holds = [expect(201, ledger.caller.post(f"{path}/holds", held))["hold"] for _ in range(3)]
    captured, released, extended = (f"{path}/holds/{hold['hold_id']}" for hold in holds)
    why = {"reason": "free text, ünïcode"}
    claim = {"reference": "r", "as_of": "2026-01-01T00:00:00Z", "amount": 5, **why}
    transfer = {"from_account_id": account_id, "to_account_id": other_id, "amount": 5, **why}
    return [
        ("/v1/accounts", {"account_id": new_account(), "metadata": {"a": "ü", "b": 1}}),
        (f"{path}/grants", {"amount": 5, "source": "promo", "metadata": {"b": 2, "a": True}}),
        (f"{path}/debits", {"amount": 5, "reason": "free text, ünïcode", "tags": ["x"]}),
        (f"{path}/debits/{debit_id}/refunds", {"amount": 5, "reason": "free text"}),
        ("/v1/generations", order),
        (f"/v1/generations/{made['generation_id']}/flags", {"reason": "other", "text": "ünïcode"}),
        (f"{path}/holds", held),
        (f"{captured}/capture", {"amount": 3}),
        (f"{released}/release", {}),
        (f"{extended}/extend", {"ttl_seconds": 6000}),
        (f"{path}/holds/release", {"reference": "none", **why}),
        (f"{path}/grants/{grant_id}/clawback", claim),
        (f"{path}/adjustments", {"amount": 5, "direction": "debit", **why}),
        (f"{other}/write-offs", {"amount": 5, **why}),
        ("/v1/transfers", transfer),
        (f"{path}/grants/{grant_id}/expiry", {"expires_at": "2100-01-01T00:00:00Z", **why}),
        (f"{path}/grants/{grant_id}/void", why),
        (f"{path}/freeze", why),
        (f"{path}/unfreeze", why),
        (f"{other}/close", why),
    ]


def account_in(answer: httpx.Response) -> str:
    """Whose account an answer is about; a report about a result moves nothing in it."""
    body = answer.json()
    return str(body["account" if "account" in body else "flag"]["account_id"])


def test_every_operation_with_a_key_is_tried(ledger: LiveLedger) -> None:
    """A new one must be put on the list above."""
    keyed = [it for it in operations(CONTROLLERS) if it.endpoint.is_keyed]
    tried = [path for path, _ in requests_of_every_kind(ledger)]
    for operation in keyed:
        pattern = re.compile(re.sub(r"{\w+}", "[^/]+", operation.path))
        assert any(pattern.fullmatch(path) for path in tried), operation.title


def test_a_replay_is_the_first_answer_byte_for_byte(ledger: LiveLedger) -> None:
    """However much has happened since, and however the JSON and the key are written."""
    for n, (path, body) in enumerate(requests_of_every_kind(ledger)):
        key = f"replay-{n}"
        first = ledger.caller.post(path, body, key=key)
        assert first.is_success, first.text
        assert "Idempotent-Replayed" not in first.headers
        grants = f"/v1/accounts/{account_in(first)}/grants"
        ledger.caller.post(grants, {"amount": 7, "source": "promo"})
        for again in (
            ledger.caller.post(path, body, key=key),
            ledger.caller.post(path, backwards(body), key=f'"{key}"'),
        ):
            assert (again.status_code, again.content) == (first.status_code, first.content)
            assert again.headers["Idempotent-Replayed"] == "true"


def test_a_command_is_looked_up_by_its_key(ledger: LiveLedger) -> None:
    """The lookup gives the first answer's status and bytes; 404 means not applied so far."""
    for n, (path, body) in enumerate(requests_of_every_kind(ledger)):
        first = ledger.caller.post(path, body, key=f"lookup-{n}")
        commands = f"/v1/accounts/{account_in(first)}/commands"
        found = ledger.caller.get(f"{commands}/lookup-{n}")
        assert (found.status_code, found.content) == (first.status_code, first.content)
        missing = expect(404, ledger.caller.get(f"{commands}/never-used"))
        assert missing["code"] == "command_not_found"


def test_a_key_stands_for_one_request(ledger: LiveLedger) -> None:
    """The same key with another body or another path is refused, whatever the first one did."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    body = {"amount": 5, "source": "promo"}
    expect(201, ledger.caller.post(f"{path}/grants", body, key="one"))
    other_body = ledger.caller.post(f"{path}/grants", {**body, "amount": 6}, key="one")
    debit = {"amount": 5, "reason": "x"}
    other_path = ledger.caller.post(f"{path}/debits", debit, key="one")
    for reused in (other_body, other_path):
        assert expect(422, reused)["code"] == "idempotency_key_reused"
    elsewhere = f"/v1/accounts/{new_account()}/grants"
    expect(201, ledger.caller.post(elsewhere, body, key="one"))


@pytest.mark.parametrize("key", ["", "with space", "ü", "x" * 256, "tab\tkey"])
def test_a_key_that_is_none_is_refused(ledger: LiveLedger, key: str) -> None:
    """A key has 1 to 255 visible ASCII characters."""
    headers = [(b"Idempotency-Key", key.encode())] if key else []
    answer = ledger.caller.http.post(
        f"/v1/accounts/{new_account()}/grants",
        json={"amount": 5, "source": "promo"},
        headers=headers,
    )
    code = expect(400, answer)["code"]
    assert code == ("validation_failed" if key else "idempotency_key_missing")


def test_a_refusal_uses_no_key(ledger: LiveLedger) -> None:
    """A refused command is decided anew when it is repeated."""
    account_id = new_account()
    ledger.caller.grant(account_id, 1)
    path, body = f"/v1/accounts/{account_id}/debits", {"amount": 5, "reason": "x"}
    assert ledger.caller.post(path, body, key="later").status_code == 402
    ledger.caller.grant(account_id, 4)
    assert ledger.caller.post(path, body, key="later").status_code == 201


def test_a_hundred_requests_with_one_key_have_one_effect(ledger: LiveLedger) -> None:
    """All of them get the same bytes, and the credits are granted once."""
    account_id = new_account()

    async def burst() -> list[httpx.Response]:
        headers = {**ledger.caller.http.headers, "Idempotency-Key": "burst"}
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(
            base_url=ledger.url, headers=headers, limits=limits, timeout=20, trust_env=False
        ) as client:
            path, body = f"/v1/accounts/{account_id}/grants", {"amount": 9, "source": "promo"}
            return await asyncio.gather(*[client.post(path, json=body) for _ in range(100)])

    answers = asyncio.run(burst())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert ledger.caller.balance(account_id)["posted"] == 9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("2100-01-01T02:00:00+02:00", "2100-01-01T00:00:00Z"),
        ("2100-01-01T00:00:00-11:30", "2100-01-01T11:30:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_told_in_utc(ledger: LiveLedger, given: str, told: str) -> None:
    """Whatever offset it came with: in the first answer, in the list, and in the log."""
    account_id = new_account()
    grant = ledger.caller.grant(account_id, 5, expires_at=given)["grant"]
    assert grant["expires_at"] == told
    path = f"/v1/accounts/{account_id}/grants"
    assert expect(200, ledger.caller.get(path))["items"] == [grant]
    assert ledger.caller.balance(account_id)["available"] == 5


@pytest.mark.parametrize("beyond", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_an_instant_outside_of_the_calendar_is_refused(ledger: LiveLedger, beyond: str) -> None:
    """An offset must not carry an instant past the years that a clock can say."""
    for field in ("effective_at", "expires_at"):
        body = {"amount": 5, "source": "promo", field: beyond}
        answer = ledger.caller.post(f"/v1/accounts/{new_account()}/grants", body)
        assert expect(400, answer)["code"] == "validation_failed"
