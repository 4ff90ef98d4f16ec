"""Claims over live HTTP, where many generations share one answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger_service.generations.document import shipped
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import Database, Processes

MAKE_DUE = "UPDATE ledger.jobs SET due_at = clock_timestamp() WHERE generation_id = %s"

pytestmark = pytest.mark.slow


@pytest.fixture
def own(database: Database, processes: Processes) -> Iterator[LiveLedger]:
    """A ledger of this test alone: its pulls find nobody else's work."""
    ledger = serve(processes, database)
    yield ledger
    ledger.close()


def order(ledger: LiveLedger, model: str = "veo-3.1-lite") -> str:
    """A generation that is due, on an account of its own; returns its id."""
    account_id = new_account()
    ledger.caller.grant(account_id, 1_000)
    body = {"account_id": account_id, "model": model, "input": {"prompt": "a boat"}}
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


def test_a_worker_is_told_how_often_the_result_could_not_be_had(ledger: LiveLedger) -> None:
    """Counted by the ledger: no worker remembers what another one found."""
    worker = HandWorker(ledger.worker)
    generation_id = order(ledger)
    submitted = {"type": "submitted", "request_id": "req-1"}
    claim = expect(200, worker.report(worker.claim(generation_id), submitted))["next_claim"]
    told = [claim["fetches"]]
    no_result = {"type": "running", "provider_status": "C", "completed": True, "error": "http_500"}
    for _ in range(2):
        expect(200, worker.report(claim, no_result))
        with ledger.database.connect() as connection:
            connection.execute(MAKE_DUE, [generation_id])
        claim = worker.claim(generation_id)
        told.append(claim["fetches"])
    assert told == [0, 1, 2]
    assert claim["step"] == "fetch"


def test_an_order_that_may_wait_says_so_to_everybody(own: LiveLedger) -> None:
    """The first answer, later reads and the claim name its priority; a pull claims it last."""
    account_id = new_account()
    own.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    low = expect(202, own.caller.post("/v1/generations", body | {"priority": "low"}))["generation"]
    urgent = order(own)
    path = f"/v1/generations/{low['generation_id']}"
    assert (low["priority"], expect(200, own.caller.get(path))["priority"]) == ("low", "low")
    claims = expect(200, pull(own))["claims"]
    assert [(it["generation_id"], it["priority"]) for it in claims] == [
        (urgent, "normal"), (low["generation_id"], "low"),
    ]  # fmt: skip
    bad = own.caller.post("/v1/generations", body | {"priority": "urgent"})
    assert expect(400, bad)["errors"][0]["pointer"] == "/priority"


def test_a_worker_is_told_who_makes_what(own: LiveLedger) -> None:
    """Every model of the catalogue with its provider and endpoint; nobody else may ask."""
    items = expect(200, own.worker.get("/v1/work/models"))["items"]
    assert {"model": "veo-3.1-lite", "provider": "fal", "endpoint": "fal-ai/veo3.1/lite"} in items
    assert sorted(item["model"] for item in items) == sorted(e.model for e in shipped().models)
    expect(403, own.caller.get("/v1/work/models"))


def claim_each(ledger: LiveLedger, *generation_ids: str) -> Any:
    """Claim these, as far as they are due; by generation id."""
    body = {"worker": "by hand", "max": 50, "generations": generation_ids}
    claims = expect(200, ledger.worker.post("/v1/work/claims", body, key=""))["claims"]
    return {claim["generation_id"]: claim for claim in claims}


def step_report(claim: Any, **event: Any) -> dict[str, Any]:
    """A report as it stands among many."""
    return {
        "generation_id": claim["generation_id"],
        "fence": claim["fence"],
        "attempt_id": claim["attempt"]["attempt_id"],
        "event": event,
    }


def report_each(ledger: LiveLedger, *reports: Any) -> Any:
    """Hand in many reports; their results."""
    body = {"reports": reports}
    return expect(200, ledger.worker.post("/v1/work/reports", body, key=""))["results"]


def test_claims_by_name_are_of_those_that_are_due(own: LiveLedger) -> None:
    """Named generations alone are claimed, each once; what is not due or unknown is left out."""
    first, second, other = (order(own) for _ in range(3))
    claims = claim_each(own, first, second, first, "gen_unknown")
    assert set(claims) == {first, second}
    assert claims[first]["input"]["prompt"] == "a boat"
    assert claim_each(own, first, second) == {}
    assert set(claim_each(own, other)) == {other}


def test_an_input_that_does_not_open_costs_no_other_its_claim(own: LiveLedger) -> None:
    """It alone is left out; nothing is submitted without its input."""
    unreadable, *well = (order(own) for _ in range(3))
    with own.database.connect_owner() as connection:
        connection.execute(
            "UPDATE ledger.vault SET ciphertext = ciphertext || 'x' WHERE owner ="
            " (SELECT owner FROM ledger.jobs WHERE generation_id = %s)",
            [unreadable],
        )
        connection.commit()
    assert set(claim_each(own, unreadable, *well)) == set(well)


def test_a_model_of_another_catalogue_costs_no_other_its_claim(
    database: Database, processes: Processes, tmp_path: Path
) -> None:
    """A process may not know it yet, or no longer, while another one takes orders for it."""
    file = tmp_path / "catalogue.json"
    document = msgspec.to_builtins(shipped()) | {"themes": []}
    document["models"][0]["model"] = "veo-of-tomorrow"
    file.write_bytes(msgspec.json.encode(document))
    ledger = serve(processes, database, CATALOGUE_FILE=str(file))
    foreign = order(ledger, "veo-of-tomorrow")
    well = [order(ledger, "veo-3.1-fast") for _ in range(2)]
    ledger.process.stop()
    file.write_bytes(msgspec.json.encode(msgspec.to_builtins(shipped()) | {"book": 9}))
    ledger.process.start()
    assert set(claim_each(ledger, foreign, *well)) == set(well)
    ledger.close()


def test_many_reports_are_each_judged_by_itself(own: LiveLedger) -> None:
    """Each has the answer that it would have alone; refused and malformed ones spoil no other."""
    ids = [order(own) for _ in range(3)]
    claims = claim_each(own, *ids)
    going, failing, stale = (claims[it] for it in ids)
    submitted = step_report(going, type="submitted", request_id="r-1")
    results = report_each(
        own,
        submitted,
        step_report(failing, type="failed", reason="a_verdict", sent=True),
        {**step_report(stale, type="running", provider_status="IN_QUEUE"), "fence": "1.999"},
        step_report({**going, "generation_id": "gen_unknown"}, type="renew"),
        {"generation_id": ids[2], "event": {"type": "nonsense"}},
        "no object",
    )
    assert [result["status"] for result in results] == [200, 200, 409, 404, 400, 400]
    codes = [result["body"].get("code") for result in results[2:]]
    assert codes == ["stale_fence", "generation_not_found", *["validation_failed"] * 2]
    next_claim = results[0]["body"]["next_claim"]
    assert (next_claim["step"], next_claim["attempt"]["request_id"]) == ("poll", "r-1")
    assert results[1]["body"] == {"accepted": True, "next_claim": None}
    ended = expect(200, own.caller.get(f"/v1/generations/{ids[1]}"))
    assert (ended["status"], ended["refunded"]) == ("failed", ended["price"])
    # The same again changes nothing, and the claim that came of it stays the newest.
    again = report_each(own, submitted)[0]
    assert (again["status"], again["body"]["accepted"]) == (200, False)
    running = step_report(next_claim, type="running", provider_status="IN_PROGRESS")
    assert report_each(own, running)[0]["body"]["accepted"]


def test_too_many_reports_are_none(own: LiveLedger) -> None:
    """The bound is told, and nothing of such a request is taken."""
    claim = claim_each(own, order(own)).popitem()[1]
    report = step_report(claim, type="failed", reason="a_verdict")
    answer = own.worker.post("/v1/work/reports", {"reports": [report] * 26}, key="")
    assert expect(400, answer)["code"] == "validation_failed"
    assert report_each(own, report)[0]["body"]["accepted"]
    expect(403, own.caller.post("/v1/work/reports", {"reports": [report]}, key=""))
