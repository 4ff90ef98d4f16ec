"""Claims and webhooks over live HTTP, where many generations share one answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger_service.generations.claiming import WEBHOOK_PURPOSE
from ledger_service.signing import Signer
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import WEBHOOK_SECRET, LiveLedger, expect, new_account, serve
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow


@pytest.fixture
def own(database: Database, processes: Processes) -> Iterator[LiveLedger]:
    """A ledger of this test alone: its pulls find nobody else's work."""
    ledger = serve(processes, database)
    yield ledger
    ledger.close()


def order(ledger: LiveLedger) -> str:
    """A generation that is due, on an account of its own; returns its id."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    generation = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    return str(generation["generation_id"])


def pull(ledger: LiveLedger) -> Any:
    """Claim whatever is due."""
    return ledger.worker.post("/v1/work/claims", {"worker": "by hand", "max": 50}, key="")


def test_a_claim_that_fails_does_not_cost_the_others_theirs(own: LiveLedger) -> None:
    """A pull hands out what it has claimed: a claim is granted once, and unseen it is lost."""
    bad, *good = [order(own) for _ in range(4)]
    with own.database.connect() as connection:
        connection.execute(
            "UPDATE ledger.heads SET snapshot_version = 99 WHERE stream LIKE %s", [f"%{bad}"]
        )
    claims = expect(200, pull(own))["claims"]
    assert {claim["generation_id"] for claim in claims} == set(good)
    assert {claim["step"] for claim in claims} == {"submit"}
    # Nothing to hand out: the trouble itself is the answer.
    assert expect(503, pull(own))["code"] == "unavailable"


def webhook(generation_id: str, number: int) -> str:
    """The address that only the provider is told."""
    token = Signer(WEBHOOK_SECRET.encode()).sign(WEBHOOK_PURPOSE, generation_id, number)
    return f"/v1/webhooks/fal/{generation_id}/{number}/{token}"


def test_a_webhook_heals_a_lost_submit_and_makes_it_due(ledger: LiveLedger) -> None:
    """A webhook that comes before the submit's answer is kept: it alone knows the request."""
    generation_id, worker = order(ledger), HandWorker(ledger.worker)
    claim = worker.claim(generation_id)
    lost = {"type": "submission_unknown", "reason": "timeout"}
    expect(200, worker.report(claim, lost))
    for _ in range(2):
        hint = {"request_id": "req-7", "status": "OK", "payload": {"deep": [1.5]}}
        told = ledger.nobody.post(webhook(generation_id, 1), hint, key="")
        assert expect(200, told) == {"noted": True}
    again = worker.claim(generation_id)
    assert (again["step"], again["attempt"]["request_id"]) == ("poll", "req-7")
    read = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    assert (read["status"], read["attempts"]) == ("submitted", 1)


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b"{" * 2_000_000])
def test_a_forged_webhook_is_not_even_read(ledger: LiveLedger, content: bytes) -> None:
    """The token is judged first: whoever has none makes us read, parse and look up nothing."""
    generation_id = order(ledger)
    genuine = webhook(generation_id, 1)
    headers = {"Content-Type": "application/json"}
    for path in (genuine[:-1] + "x", genuine.replace("/1/", "/2/"), genuine.replace("gen_", "gen")):
        answer = ledger.nobody.http.post(path, content=content, headers=headers)
        assert expect(404, answer)["code"] == "not_found"
