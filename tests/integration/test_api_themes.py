"""Themes over HTTP: listed, quoted, ordered, kept; and what is wrong with an order is told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ledger_service.audit.replay import replay
from ledger_service.generations.document import shipped
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow

THEME = {"theme": "golden-hour", "subject": "a boat of Ms Smith, 12 Elm Street"}
PROMPT = shipped().themes[0].prompt.replace("{subject}", THEME["subject"])
INPUT = {"prompt": PROMPT, "duration": "8s", "resolution": "1080p", "aspect_ratio": "16:9"}


def funded(ledger: LiveLedger, amount: int = 100) -> str:
    """An account with credits."""
    account_id = new_account()
    ledger.caller.grant(account_id, amount)
    return account_id


def order(
    ledger: LiveLedger, account_id: str, key: str | None = None, **body: Any
) -> httpx.Response:
    """Ask for a generation."""
    return ledger.caller.post("/v1/generations", {"account_id": account_id, **body}, key=key)


def quoted(ledger: LiveLedger, **body: Any) -> Any:
    """A quote."""
    return expect(200, ledger.caller.post("/v1/quotes", body, key=""))


def test_themes_are_listed_for_who_may_read(ledger: LiveLedger) -> None:
    """Featured ones first, with what an order needs to know."""
    items = expect(200, ledger.caller.get("/v1/themes"))["items"]
    assert [theme["featured"] for theme in items] == [True, True, False, False]
    first = items[0]
    assert (first["theme"], first["model"], first["kind"]) == (
        "golden-hour",
        "veo-3.1-lite",
        "video",
    )
    assert (first["takes_subject"], first["available"], first["price"]) == (True, True, 32)
    assert ledger.nobody.get("/v1/themes").status_code == 401


def test_an_order_by_theme_is_a_generation_of_its_model(ledger: LiveLedger) -> None:
    """Charged as it was quoted and shown; kept with its name; the worker is told all of it."""
    account_id, quote = funded(ledger), quoted(ledger, **THEME)
    first = order(ledger, account_id, key="once", quote_id=quote["quote_id"], **THEME)
    made = expect(202, first)["generation"]
    assert (made["theme"], made["model"], made["input"]) == ("golden-hour", "veo-3.1-lite", INPUT)
    assert made["charged"] == quote["price"]
    again = order(ledger, account_id, key="once", quote_id=quote["quote_id"], **THEME)
    assert (again.status_code, again.content) == (202, first.content)
    assert expect(200, ledger.caller.get(f"/v1/generations/{made['generation_id']}")) == made
    (listed,) = expect(200, ledger.caller.get("/v1/generations", account_id=account_id))["items"]
    assert listed["theme"] == "golden-hour"
    claim = HandWorker(ledger.worker).claim(made["generation_id"])
    assert claim["input"] == {**INPUT, "generate_audio": True}
    assert ledger.caller.balance(account_id)["posted"] == 100 - quote["price"]
    assert replay(ledger.database.url).differences == []


def test_the_callers_input_comes_before_the_themes(ledger: LiveLedger) -> None:
    """Settings one by one, the prompt as a whole; a key is for the request as it was sent."""
    account_id = funded(ledger)
    asked: dict[str, Any] = {**THEME, "model": "veo-3.1-lite", "input": {"duration": "4s"}}
    made = expect(202, order(ledger, account_id, key="once", **asked))["generation"]
    assert made["input"] == INPUT | {"duration": "4s"}
    spelled: dict[str, Any] = {"model": "veo-3.1-lite", "input": made["input"]}
    assert expect(422, order(ledger, account_id, key="once", **spelled))["code"] == (
        "idempotency_key_reused"
    )
    own: dict[str, Any] = {
        "theme": "golden-hour",
        "input": {"prompt": "a lighthouse", "duration": "4s"},
    }
    made = expect(202, order(ledger, account_id, **own))["generation"]
    assert (made["theme"], made["input"]["prompt"]) == ("golden-hour", "a lighthouse")
    plain = expect(202, order(ledger, account_id, **spelled))["generation"]
    assert plain["theme"] is None


@pytest.mark.parametrize(
    ("body", "status", "code", "pointers"),
    [
        ({"theme": "no-such"}, 404, "theme_not_found", []),
        ({"theme": "golden-hour"}, 400, "validation_failed", ["/subject"]),
        ({"theme": "living-photo"}, 400, "validation_failed", ["/input"]),
        (THEME | {"model": "veo-3.1"}, 400, "validation_failed", ["/model"]),
        (THEME | {"input": {"duration": "9s"}}, 400, "validation_failed", ["/input/duration"]),
        (THEME | {"subject": "x" * 301}, 400, "validation_failed", ["/subject"]),
        ({"model": "veo-3.1", **THEME, "theme": None}, 400, "validation_failed", ["/subject"]),
        ({"input": {"prompt": "a boat"}}, 400, "validation_failed", ["/model"]),
        ({"theme": 7}, 400, "validation_failed", ["/theme"]),
    ],
)
def test_what_is_wrong_with_an_order_by_theme_is_told(
    ledger: LiveLedger, body: dict[str, Any], status: int, code: str, pointers: list[str]
) -> None:
    """Of orders and quotes alike, and nothing is charged."""
    account_id = funded(ledger)
    answers = [order(ledger, account_id, **body), ledger.caller.post("/v1/quotes", body, key="")]
    for answer in answers:
        told = expect(status, answer)
        assert told["code"] == code
        assert [fault["pointer"] for fault in told.get("errors", [])] == pointers
        assert "Elm Street" not in answer.text
    assert ledger.caller.balance(account_id)["posted"] == 100


def test_a_dry_run_names_the_theme_and_orders_nothing(ledger: LiveLedger) -> None:
    """It shows the whole input as it would be."""
    account_id = funded(ledger)
    path = "/v1/generations?dry_run=true"
    planned = ledger.caller.post(path, {"account_id": account_id, **THEME}, key="")
    told = expect(202, planned)["generation"]
    assert (told["theme"], told["input"], told["generation_id"]) == ("golden-hour", INPUT, None)
    assert ledger.caller.balance(account_id)["posted"] == 100


def test_a_theme_goes_with_its_model(ledger: LiveLedger) -> None:
    """While the model is switched off it is not on offer."""
    account_id, path = funded(ledger), "/v1/models/veo-3.1-lite"
    expect(200, ledger.caller.http.put(path, json={"available": False, "note": "Monday."}))
    try:
        told = expect(409, order(ledger, account_id, **THEME))
        assert (told["code"], told["note"]) == ("model_unavailable", "Monday.")
        items = expect(200, ledger.caller.get("/v1/themes"))["items"]
        off = [theme["theme"] for theme in items if not theme["available"]]
        assert off == [theme["theme"] for theme in items[-2:]] == ["golden-hour", "paper-world"]
    finally:
        expect(200, ledger.caller.http.put(path, json={"available": True}))
        time.sleep(1.0)  # until every process knows


def test_what_was_ordered_outlives_its_theme(
    database: Database, processes: Processes, tmp_path: Path
) -> None:
    """A retry gets its first answer when the theme has changed, is off, or is gone; quotes of the
    theme as it was are for another input."""
    file = tmp_path / "catalogue.json"
    document = msgspec.to_builtins(shipped())
    theme = document["themes"][0]
    file.write_bytes(msgspec.json.encode(document))
    ledger = serve(processes, database, CATALOGUE_FILE=str(file))
    account_id, quote = funded(ledger), quoted(ledger, **THEME)
    first = order(ledger, account_id, key="once", **THEME)
    made = expect(202, first)["generation"]
    changes: list[tuple[list[Any], int, str]] = [
        ([theme | {"prompt": "{subject} at night"}], 404, "quote_not_found"),
        ([theme | {"available": False}], 409, "model_unavailable"),
        ([], 404, "theme_not_found"),
    ]
    for themes, status, code in changes:
        file.write_bytes(msgspec.json.encode(document | {"themes": themes}))
        ledger.process.stop()
        ledger.process.start()
        again = order(ledger, account_id, key="once", **THEME)
        assert (again.status_code, again.content) == (202, first.content)
        other = order(ledger, account_id, quote_id=quote["quote_id"], **THEME)
        assert expect(status, other)["code"] == code
    kept = expect(200, ledger.caller.get(f"/v1/generations/{made['generation_id']}"))
    assert (kept["theme"], kept["input"]) == ("golden-hour", INPUT)
    assert ledger.caller.balance(account_id)["posted"] == 100 - made["charged"]
    ledger.close()
