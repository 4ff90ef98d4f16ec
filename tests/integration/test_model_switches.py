"""Models switched on and off at run time, in all processes and for those whose word it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from deploy.run.host import free_port
from ledger_service.generations.switchboard import KEEP_SECONDS, merged
from ledger_service.store.models import OPERATOR, SwitchRow
from tests.fixtures.live import Caller, LiveLedger, expect, is_ready, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Process, Processes

pytestmark = pytest.mark.slow

MODEL, OTHER = "veo-3.1-lite", "veo-3.1-fast"
INPUT = {"prompt": "a boat"}
EVERYWHERE_AFTER_SECONDS = 1.0


class Pair:
    """Two serving processes on one database: `here` and `there`; and the command line."""

    def __init__(self, processes: Processes, ledger: LiveLedger) -> None:
        self._processes = processes
        self.ledger = ledger
        self.here = ledger.caller
        self.there = self._second()

    def _second(self) -> Caller:
        first, port = self.ledger.url.rpartition(":")[2], str(free_port())
        url, usual = f"http://127.0.0.1:{port}", self.ledger.process.command
        args = tuple(port if part == first else part for part in usual.args)
        command = replace(usual, name="second", args=args)
        log = self._processes.folder / "second.log"
        self._processes.add(Process(command, log, lambda: is_ready(url)))
        return Caller(url, self.here.key)

    def run(self, *arguments: str) -> str:
        """Run the ledger's command line."""
        env = self.ledger.process.command.env
        return self._processes.run("ledger_service", *arguments, env=env)

    def switch(self, model: str = MODEL, **body: Any) -> Any:
        """Say something of a model, here; returns the model."""
        return expect(200, self.here.http.put(f"/v1/models/{model}", json=body))


@pytest.fixture(scope="module")
def whole_pair(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One pair for this module."""
    processes = Processes(tmp_path_factory.mktemp("pair"))
    database = postgres.new_database(TEMPLATE)
    made = Pair(processes, serve(processes, database))
    yield made
    made.there.http.close()
    made.ledger.close()
    processes.end_all()
    postgres.drop(database)


@pytest.fixture
def pair(whole_pair: Pair) -> Iterator[Pair]:
    """The pair with everything on offer, before and after."""
    yield whole_pair
    for model in (MODEL, OTHER):
        whole_pair.switch(model, available=True)
        whole_pair.run("models", "on", model)
    time.sleep(EVERYWHERE_AFTER_SECONDS)


def order(caller: Caller, account_id: str, key: str | None = None) -> httpx.Response:
    """Ask for a generation."""
    body = {"account_id": account_id, "model": MODEL, "input": INPUT}
    return caller.post("/v1/generations", body, key=key)


def model_of(caller: Caller, model: str = MODEL) -> Any:
    """The model as it is shown."""
    return expect(200, caller.get(f"/v1/models/{model}"))


def test_a_model_is_off_and_on_again_in_all_processes(pair: Pair) -> None:
    """At once here, within a second there; refused with the note, and first answers stay."""
    account_id = new_account()
    pair.here.grant(account_id, 100)
    first = order(pair.there, account_id, key="before")
    expect(202, first)
    shown = pair.switch(available=False, note="Back on Monday.")
    assert (shown["available"], shown["note"]) == (False, "Back on Monday.")
    told = expect(409, order(pair.here, account_id))
    assert (told["code"], told["note"]) == ("model_unavailable", "Back on Monday.")
    time.sleep(EVERYWHERE_AFTER_SECONDS)
    assert expect(409, order(pair.there, account_id))["code"] == "model_unavailable"
    asked = {"model": MODEL, "input": INPUT}
    refused = pair.there.post("/v1/quotes", asked, key="")
    assert expect(409, refused)["code"] == "model_unavailable"
    items = expect(200, pair.there.get("/v1/models"))["items"]
    assert items[-1]["model"] == MODEL
    assert items[0]["available"]
    again = order(pair.there, account_id, key="before")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert pair.switch(available=True)["note"] is None
    time.sleep(EVERYWHERE_AFTER_SECONDS)
    expect(202, order(pair.there, account_id))
    assert pair.here.balance(account_id)["posted"] == 60


def test_what_runs_goes_on_when_its_model_is_switched_off(pair: Pair) -> None:
    """A switch stops orders, not work."""
    account_id = new_account()
    pair.here.grant(account_id, 20)
    generation_id = expect(202, order(pair.here, account_id))["generation"]["generation_id"]
    pair.switch(available=False)
    path = f"/v1/generations/{generation_id}/claims"
    claims = expect(200, pair.ledger.worker.post(path, {"worker": "by hand"}, key=""))["claims"]
    assert claims[0]["step"] == "submit"


def test_a_tenant_speaks_for_itself_alone(pair: Pair) -> None:
    """Another tenant's offer is as it was."""
    pair.switch(available=False, deprecated=True)
    assert not model_of(pair.here)["available"]
    theirs = model_of(pair.ledger.other)
    assert (theirs["available"], theirs["deprecated"]) == (True, False)


def test_the_operator_speaks_for_everybody(pair: Pair) -> None:
    """What is off for all, no tenant can switch on; when it is on again, their own word holds."""
    pair.run("models", "off", MODEL, "--note", "Out of order.")
    listed = pair.run("models", "list").splitlines()
    assert f"{OPERATOR}  {MODEL}  off  Out of order." in listed
    time.sleep(EVERYWHERE_AFTER_SECONDS)
    for caller in (pair.here, pair.there, pair.ledger.other):
        assert (model_of(caller)["available"], model_of(caller)["note"]) == (
            False,
            "Out of order.",
        )
    assert not pair.switch(available=True)["available"]
    pair.run("models", "on", MODEL)
    time.sleep(EVERYWHERE_AFTER_SECONDS)
    assert model_of(pair.there)["available"]


def test_a_switch_survives_a_restart(pair: Pair) -> None:
    """It is in the database."""
    pair.switch(OTHER, available=False)
    pair.ledger.process.kill()
    pair.ledger.process.start()
    assert not model_of(pair.here, OTHER)["available"]


def test_a_warning_is_a_switch_too(pair: Pair) -> None:
    """Deprecated models can be had; null leaves it to the catalogue."""
    assert pair.switch(OTHER, available=True, deprecated=True)["deprecated"]
    assert model_of(pair.here, OTHER)["available"]
    assert not pair.switch(OTHER, available=True)["deprecated"]
    sora = "sora-2-image-to-video"
    assert pair.switch(sora, available=True)["deprecated"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/no-such", {"available": False}, 404),
        (f"/v1/models/{MODEL}", {}, 400),
        (f"/v1/models/{MODEL}", {"available": "no"}, 400),
        (f"/v1/models/{MODEL}", {"available": False, "price": 1}, 400),
        (f"/v1/models/{MODEL}", {"available": False, "note": "x" * 201}, 400),
        (f"/v1/models/{MODEL}", {"available": False, "note": "a\u0000b"}, 400),
    ],
)
def test_a_malformed_switch_changes_nothing(
    pair: Pair, path: str, body: dict[str, Any], status: int
) -> None:
    """What is wrong is told, and the model stays on offer."""
    expect(status, pair.here.http.put(path, json=body))
    assert model_of(pair.here)["available"]


def test_a_dry_run_switches_nothing(pair: Pair) -> None:
    """It shows the model as it would be."""
    answer = pair.here.http.put(
        f"/v1/models/{MODEL}", json={"available": False}, params={"dry_run": "true"}
    )
    told = expect(200, answer)
    assert (told["dry_run"], told["available"]) == (True, False)
    time.sleep(KEEP_SECONDS)
    assert model_of(pair.here)["available"]


def test_words_are_merged_so_that_either_may_switch_off() -> None:
    """The tenant's own word on the rest comes first, the operator's where it says nothing."""
    rows = [
        SwitchRow(OPERATOR, "a", False, True, "theirs"),
        SwitchRow("t", "a", True, None, None),
        SwitchRow("t", "b", False, False, "mine"),
    ]
    of_tenant = merged(rows)["t"]
    assert (of_tenant["a"].available, of_tenant["a"].deprecated) == (False, True)
    assert of_tenant["a"].note == "theirs"
    assert (of_tenant["b"].available, of_tenant["b"].note) == (False, "mine")
    assert merged(rows)[OPERATOR].keys() == {"a"}
