"""Quotes and prices over HTTP: promised, kept, expired, and not drifting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ledger_service.audit.replay import replay
from ledger_service.generations.document import shipped
from tests.fixtures.hand_worker import HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Database, Processes

pytestmark = pytest.mark.slow

MODEL = "veo-3.1-lite"
PROMPT = "a boat for Ms Smith of 12 Elm Street"
INPUT: dict[str, Any] = {"prompt": PROMPT}


@pytest.fixture(scope="module")
def hasty(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """A ledger whose quotes hold for one second."""
    processes = Processes(tmp_path_factory.mktemp("hasty"))
    database = postgres.new_database(TEMPLATE)
    live = serve(processes, database, QUOTE_SECONDS="1")
    yield live
    live.close()
    processes.end_all()
    postgres.drop(database)


def quoted(ledger: LiveLedger, content: dict[str, Any] = INPUT, model: str = MODEL) -> Any:
    """A quote."""
    asked = {"model": model, "input": content}
    return expect(200, ledger.caller.post("/v1/quotes", asked, key=""))


def ordering(account_id: str, quote_id: str | None, **other: Any) -> dict[str, Any]:
    """The body of an order."""
    body = {"account_id": account_id, "model": MODEL, "input": INPUT, **other}
    return body | ({"quote_id": quote_id} if quote_id else {})


def order(ledger: LiveLedger, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    """Ask for a generation."""
    return ledger.caller.post("/v1/generations", body, key=key)


def funded(ledger: LiveLedger, amount: int = 100) -> str:
    """An account with credits."""
    account_id = new_account()
    ledger.caller.grant(account_id, amount)
    return account_id


def wait_past(quote: Any) -> None:
    """Until a quote of one second is over."""
    assert quote["expires_at"].endswith("Z")
    time.sleep(1.1)


def test_a_quote_tells_what_will_be_charged(ledger: LiveLedger) -> None:
    """Nothing is charged or recorded by asking."""
    account_id = funded(ledger)
    before = expect(200, ledger.caller.get("/v1/events", limit=1))["head"]
    quote = quoted(ledger, INPUT | {"resolution": "1080p", "duration": "4s"})
    assert (quote["model"], quote["price"]) == (MODEL, 16)
    (line,) = quote["lines"]
    assert (line["type"], line["quantity"], line["unit_price_millis"]) == ("per_second", 4, 2500)
    assert line["options"] == {"duration": "4s", "resolution": "1080p", "generate_audio": True}
    assert (line["book"], line["book_digest"]) == (shipped().book, shipped().digest)
    assert expect(200, ledger.caller.get("/v1/events", limit=1))["head"] == before
    assert ledger.caller.balance(account_id)["posted"] == 100


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "no-such", "input": INPUT}, 404, "model_not_found"),
        ({"model": MODEL, "input": {}}, 400, "validation_failed"),
        ({"model": MODEL, "input": INPUT | {"duration": PROMPT}}, 400, "validation_failed"),
        ({"model": MODEL}, 400, "validation_failed"),
        ({"model": MODEL, "input": INPUT, "account_id": "x"}, 400, "validation_failed"),
    ],
)
def test_what_cannot_be_had_is_not_quoted(
    ledger: LiveLedger, body: dict[str, Any], status: int, code: str
) -> None:
    """With the same problems as an order, and not a word of the prompt."""
    answer = ledger.caller.post("/v1/quotes", body, key="")
    assert expect(status, answer)["code"] == code
    assert PROMPT not in answer.text


@pytest.mark.parametrize(
    ("other", "pointers"),
    [
        ({"input": INPUT | {"duration": "8s"}}, ["/input"]),
        ({"model": "veo-3.1-fast"}, ["/model"]),
        ({"model": "veo-3.1", "input": {"prompt": "else"}}, ["/model", "/input"]),
    ],
)
def test_a_quote_is_for_what_was_quoted(
    ledger: LiveLedger, other: dict[str, Any], pointers: list[str]
) -> None:
    """With another model or input it is not found, and its owner hears why; nothing is charged."""
    account_id = funded(ledger)
    body = ordering(account_id, quoted(ledger)["quote_id"], **other)
    told = expect(404, order(ledger, body))
    assert told["code"] == "quote_not_found"
    assert [error["pointer"] for error in told["errors"]] == pointers
    assert ledger.caller.balance(account_id)["posted"] == 100


def test_a_quote_that_is_none_is_not_found(ledger: LiveLedger) -> None:
    """Made up, altered, or another tenant's: the answer is the same."""
    account_id, quote_id = funded(ledger), quoted(ledger)["quote_id"]
    foreign = expect(200, ledger.other.post("/v1/quotes", {"model": MODEL, "input": INPUT}, key=""))
    altered = quote_id[:-1] + ("0" if quote_id[-1] != "0" else "1")
    answers = [
        order(ledger, ordering(account_id, given), key="none")
        for given in ("qte_x", "x", altered, foreign["quote_id"])
    ]
    assert {expect(404, answer)["code"] for answer in answers} == {"quote_not_found"}
    assert len({answer.content for answer in answers}) == 1
    assert ledger.caller.balance(account_id)["posted"] == 100


def test_an_expired_quote_is_refused_and_answers_stay(hasty: LiveLedger) -> None:
    """After its time: 409. What was answered before is answered again, byte for byte."""
    account_id, quote = funded(hasty), quoted(hasty)
    body = ordering(account_id, quote["quote_id"])
    first = order(hasty, body, key="in-time")
    assert expect(202, first)["generation"]["charged"] == 20
    wait_past(quote)
    again = order(hasty, body, key="in-time")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    late = expect(409, order(hasty, body, key="too-late"))
    assert late["code"] == "quote_expired"
    reused = order(hasty, ordering(account_id, None), key="in-time")
    assert expect(422, reused)["code"] == "idempotency_key_reused"
    assert hasty.caller.balance(account_id)["posted"] == 80


def test_a_refused_order_may_be_repeated_under_its_key(hasty: LiveLedger) -> None:
    """A refusal takes no key: with a fresh quote the same key orders."""
    account_id, quote = funded(hasty), quoted(hasty)
    wait_past(quote)
    assert order(hasty, ordering(account_id, quote["quote_id"]), key="k").status_code == 409
    fresh = quoted(hasty)["quote_id"]
    expect(202, order(hasty, ordering(account_id, fresh), key="k"))


@pytest.fixture
def repriced(
    database: Database, processes: Processes, tmp_path: Path
) -> Iterator[Callable[..., LiveLedger]]:
    """A ledger with a catalogue of its own; called again, it goes on with another one."""
    file = tmp_path / "catalogue.json"
    served: list[LiveLedger] = []

    def start(book: int, unit_price_millis: int, **entry: Any) -> LiveLedger:
        document = msgspec.to_builtins(shipped()) | {"book": book, "themes": []}
        document["models"][0]["price"]["unit_price_millis"] = unit_price_millis
        document["models"][0].update(entry)
        file.write_bytes(msgspec.json.encode(document))
        if not served:
            served.append(serve(processes, database, CATALOGUE_FILE=str(file)))
        else:
            served[0].process.stop()
            served[0].process.start()
        return served[0]

    yield start
    for live in served:
        live.close()


def test_the_quoted_price_is_charged_when_the_book_has_changed(
    repriced: Callable[..., LiveLedger],
) -> None:
    """And the line says by which book; without the quote the new price holds."""
    ledger = repriced(2, 2500)
    account_id, quote = funded(ledger), quoted(ledger)
    ledger = repriced(3, 5000)
    kept = expect(202, order(ledger, ordering(account_id, quote["quote_id"])))["generation"]
    assert (kept["charged"], kept["price_line"]["book"]) == (20, 2)
    anew = expect(202, order(ledger, ordering(account_id, None)))["generation"]
    assert (anew["charged"], anew["price_line"]["book"], anew["quote_id"]) == (40, 3, None)
    assert ledger.caller.balance(account_id)["posted"] == 40
    worker = HandWorker(ledger.worker)
    refused = {"type": "failed", "reason": "invalid_input", "sent": False}
    for made in (kept, anew):
        expect(200, worker.report(worker.claim(made["generation_id"]), refused))
        ended = expect(200, ledger.caller.get(f"/v1/generations/{made['generation_id']}"))
        assert (ended["refunded"], ended["price_line"]) == (made["charged"], made["price_line"])
    assert ledger.caller.balance(account_id)["posted"] == 100
    assert replay(ledger.database.url).differences == []


def test_first_answers_outlive_prices_offers_and_schemas(
    repriced: Callable[..., LiveLedger],
) -> None:
    """A retry gets its answer although the model is dearer, gone, or takes other inputs."""
    ledger = repriced(2, 2500)
    account_id = funded(ledger, 80)
    body = ordering(account_id, None)
    first = order(ledger, body, key="once")
    expect(202, first)
    narrow = msgspec.to_builtins(shipped().models[0].input_schema)
    narrow["properties"]["prompt"]["maxLength"] = 3
    for change in ({}, {"available": False}, {"input_schema": narrow}):
        ledger = repriced(3, 9000, **change)
        again = order(ledger, body, key="once")
        assert (again.status_code, again.content) == (202, first.content)
        other = order(ledger, ordering(account_id, None, reference="x"), key="once")
        assert expect(422, other)["code"] == "idempotency_key_reused"
        expected = {"available": 409, "input_schema": 400}.get(next(iter(change), ""), 402)
        expect(expected, order(ledger, ordering(account_id, None, input={"prompt": "long"})))
    assert ledger.caller.balance(account_id)["posted"] == 60


def test_the_provider_is_told_what_was_priced(ledger: LiveLedger) -> None:
    """Options that were left out go along as they were priced: the provider's defaults may be
    others tomorrow. The generation shows what its caller wrote."""
    account_id = funded(ledger)
    body = ordering(account_id, None, input=INPUT | {"resolution": "1080p"})
    made = expect(202, order(ledger, body))["generation"]
    assert made["input"] == body["input"]
    claim = HandWorker(ledger.worker).claim(made["generation_id"])
    assert claim["input"] == {
        "prompt": PROMPT, "resolution": "1080p", "duration": "8s", "generate_audio": True,
    }  # fmt: skip


def test_a_faulty_catalogue_serves_nothing(
    database: Database, processes: Processes, tmp_path: Path
) -> None:
    """The process says what is wrong and ends."""
    file = tmp_path / "catalogue.json"
    file.write_text('{"book": 1, "prices": {}, "models": []}')
    with pytest.raises(AssertionError, match=r"catalogue .*unknown field"):
        serve(processes, database, CATALOGUE_FILE=str(file))
