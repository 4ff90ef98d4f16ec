"""Claims over live HTTP, where many generations share one answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ledger_service.generations.document import shipped
from tests.fixtures.live import LiveLedger, expect, new_account, serve
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


def test_a_worker_is_told_who_makes_what(own: LiveLedger) -> None:
    """Every model of the catalogue with its provider and endpoint; nobody else may ask."""
    items = expect(200, own.worker.get("/v1/work/models"))["items"]
    assert {"model": "veo-3.1-lite", "provider": "fal", "endpoint": "fal-ai/veo3.1/lite"} in items
    assert sorted(item["model"] for item in items) == sorted(e.model for e in shipped().models)
    expect(403, own.caller.get("/v1/work/models"))
