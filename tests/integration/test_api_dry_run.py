"""Dry runs: the answer that would be given, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from ledger_service.api.operations import Operation
from tests.fixtures.examples import DRY, WRITES, Case, case_of
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes

pytestmark = pytest.mark.slow

ALWAYS_IN_EARNEST: Final = {
    "POST /v1/keys",
    "POST /v1/quotes",  # changes nothing as it is
    "POST /v1/accounts/{account_id}/commands/{key}/void",  # reading the command is its dry run
    "POST /v1/work/claims",
    "POST /v1/generations/{generation_id}/cancel",  # reading the generation is its dry run
    "POST /v1/generations/{generation_id}/claims",
    "POST /v1/generations/{generation_id}/reports",
    "POST /v1/work/reports",
    "POST /v1/work/presence",
    "POST /v1/work/forgettings",
    "POST /v1/work/forgettings/{generation_id}",
    "POST /v1/work/reconciliations",
    "POST /v1/work/reconciliations/reports",
    "POST /v1/uploads",  # takes a file, and no JSON
    "POST /v1/webhooks/fal/{generation_id}/{attempt}/{token}",
}
DRY_RUN: Final = {"dry_run": "true"}
TABLES: Final = (
    "events",
    "heads",
    "lots",
    "holds",
    "debit_refunds",
    "jobs",
    "vault",
    "subject_keys",
    "model_switches",
)


@pytest.fixture(scope="module")
def alone(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """A ledger of this module's own: nobody else writes, and a policy may be changed."""
    processes = Processes(tmp_path_factory.mktemp("alone"))
    database = postgres.new_database(TEMPLATE)
    live = serve(processes, database)
    yield live
    live.close()
    processes.end_all()
    postgres.drop(database)


def everything(ledger: LiveLedger) -> list[Any]:
    """How many rows there are of each kind, and where the log ends."""
    with ledger.database.connect() as connection:
        return [
            connection.execute(f"SELECT count(*) FROM ledger.{table}").fetchone()
            for table in TABLES
        ] + [connection.execute("SELECT max(position) FROM ledger.events").fetchone()]


def agree(planned: Any, real: Any, name: str = "") -> None:
    """A planned answer says what the real one says, save for instants and what is yet to be."""
    if name.endswith("_at") and planned is not None:
        return
    if name in {"position", "version"}:
        assert planned is None
    elif name.endswith("_id") and planned is None:
        return
    elif isinstance(real, dict):
        assert planned.keys() - {"dry_run"} == real.keys()
        for inner, value in real.items():
            agree(planned[inner], value, inner)
    elif isinstance(real, list):
        assert len(planned) == len(real)
        for one, other in zip(planned, real, strict=True):
            agree(one, other, name)
    else:
        assert planned == real, name


def by_title(operation: Operation) -> str:
    """How a case is named."""
    return operation.title


def test_every_write_can_be_tried_out() -> None:
    """What cannot is on this short list."""
    assert {it.title for it in WRITES if not it.endpoint.may_run_dry} == ALWAYS_IN_EARNEST


@pytest.mark.parametrize("operation", DRY, ids=by_title)
def test_a_dry_run_tells_what_would_be_and_changes_nothing(
    alone: LiveLedger, operation: Operation
) -> None:
    """Twice the same, without a key and without a trace; then in earnest it is just so."""
    case = case_of(alone.caller, operation)
    before = everything(alone)
    first, second = (case.send(alone.caller, **DRY_RUN) for _ in range(2))
    assert everything(alone) == before
    planned = first.json()
    assert first.is_success, first.text
    assert planned["dry_run"] is True
    assert second.json().keys() == planned.keys()
    real = case.send(alone.caller)
    assert (real.status_code, "dry_run" in real.json()) == (first.status_code, False)
    agree(planned, real.json())
    assert everything(alone) != before


def test_ids_that_exist_are_told_and_new_ones_are_null(alone: LiveLedger) -> None:
    """A spend names the grants that would pay; the debit itself has no id yet."""
    account_id = new_account()
    grant_id = alone.caller.grant(account_id, 100)["grant"]["grant_id"]
    case = Case("POST", f"/v1/accounts/{account_id}/debits", {"amount": 30, "reason": "try"})
    planned = expect(201, case.send(alone.caller, **DRY_RUN))
    assert planned["debit"]["debit_id"] is None
    assert planned["debit"]["lots"] == [{"grant_id": grant_id, "amount": 30}]
    assert planned["position"] is None
    assert planned["account"]["version"] is None
    assert planned["account"]["balance"]["available"] == 70
    assert alone.caller.balance(account_id)["available"] == 100


def test_what_the_caller_gave_is_left_alone(alone: LiveLedger) -> None:
    """Names in metadata and inputs mean nothing to the ledger."""
    metadata = {"position": 7, "version": 1, "debit_id": "mine"}
    body = {"amount": 5, "source": "promo", "metadata": metadata}
    path = f"/v1/accounts/{new_account()}/grants"
    planned = expect(201, Case("POST", path, body).send(alone.caller, **DRY_RUN))
    assert planned["grant"]["metadata"] == metadata


def test_a_dry_run_is_refused_as_in_earnest(alone: LiveLedger) -> None:
    """Status, code and numbers are those of the refusal that would come."""
    account_id = new_account()
    alone.caller.grant(account_id, 10)
    path, body = f"/v1/accounts/{account_id}/debits", {"amount": 30, "reason": "try"}
    planned = expect(402, Case("POST", path, body).send(alone.caller, **DRY_RUN))
    assert planned == expect(402, Case("POST", path, body).send(alone.caller))
    missing = f"/v1/accounts/{new_account()}/debits"
    problem = expect(404, Case("POST", missing, body).send(alone.caller, **DRY_RUN))
    assert problem["code"] == "account_not_found"
    forbidden = Case("POST", path, body).send(alone.reader, **DRY_RUN)
    assert expect(403, forbidden)["code"] == "forbidden"


def test_a_dry_run_uses_no_key(alone: LiveLedger) -> None:
    """One that is given is neither looked up nor taken."""
    path = f"/v1/accounts/{new_account()}/grants"
    body = {"amount": 10, "source": "promo"}
    dry = f"{path}?dry_run=true"
    assert expect(201, alone.caller.post(dry, body, key="one"))["dry_run"] is True
    expect(201, alone.caller.post(path, body, key="one"))
    assert expect(201, alone.caller.post(dry, {**body, "amount": 11}, key="one"))["dry_run"]
    assert "dry_run" not in expect(201, alone.caller.post(path, body, key="one"))


def test_false_means_in_earnest(alone: LiveLedger) -> None:
    """`dry_run=false` is as if nothing were said."""
    path = f"/v1/accounts/{new_account()}/grants?dry_run=false"
    assert expect(201, alone.caller.post(path, {"amount": 5, "source": "promo"}))["position"] > 0


@pytest.mark.parametrize(
    "query", ["dryrun=true", "dry_run=maybe", "dry_run=", "dry_run=true&dry_run=1"]
)
def test_a_mistyped_dry_run_does_nothing(alone: LiveLedger, query: str) -> None:
    """It must not pass for a write in earnest."""
    before = everything(alone)
    path = f"/v1/accounts/{new_account()}/grants?{query}"
    problem = expect(400, alone.caller.post(path, {"amount": 5, "source": "promo"}))
    assert problem["code"] == "validation_failed"
    assert everything(alone) == before


def test_reads_do_not_run_dry(alone: LiveLedger) -> None:
    """The parameter is unknown to them."""
    assert alone.caller.get("/v1/accounts/x", **DRY_RUN).status_code == 400
