"""Holes 4 to 6: a request that is sent again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest

from contracts.api.debits import DebitRequest
from contracts.client.ledger import LedgerClient
from tests.fixtures.hand_worker import REFUSED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

MODEL = "veo-3.1-lite"


def ordering(account_id: str, prompt: str = "a boat") -> dict[str, Any]:
    """The body of an order."""
    return {"account_id": account_id, "model": MODEL, "input": {"prompt": prompt}}


def test_hole_04_a_repeated_order_tells_how_it_ended(ledger: LiveLedger) -> None:
    """The key replayed success after the submit had failed: a dead job was handed out as alive."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 100)
    first = ledger.caller.post("/v1/generations", ordering(account_id), key="order")
    generation_id = expect(202, first)["generation"]["generation_id"]
    expect(200, worker.report(worker.claim(generation_id), REFUSED))
    again = ledger.caller.post("/v1/generations", ordering(account_id), key="order")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Generation-Status"] == "failed"
    now = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    assert (now["status"], now["charged"], now["refunded"]) == ("failed", 20, 20)
    assert ledger.caller.balance(account_id)["posted"] == 100
    anew = expect(202, ledger.caller.post("/v1/generations", ordering(account_id), key="order-2"))
    assert anew["generation"]["generation_id"] != generation_id


def test_hole_05_one_key_at_once_is_one_order(ledger: LiveLedger) -> None:
    """Two calls at once with one key: one of them got a raw primary-key error."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)

    async def all_at_once() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {ledger.caller.key}", "Idempotency-Key": "at-once"}
        async with httpx.AsyncClient(
            base_url=ledger.url, headers=headers, timeout=30.0, trust_env=False
        ) as client:
            posts = [client.post("/v1/generations", json=ordering(account_id)) for _ in range(20)]
            return await asyncio.gather(*posts)

    answers = asyncio.run(all_at_once())
    assert Counter(answer.status_code for answer in answers) == {202: 20}
    assert len({answer.content for answer in answers}) == 1
    assert ledger.caller.balance(account_id)["posted"] == 80


def test_hole_05_a_key_lives_as_long_as_what_it_did(ledger: LiveLedger) -> None:
    """Keys were swept after a day, and one that was due but not swept yet was an error."""
    account_id = new_account()
    ledger.caller.grant(account_id, 9)
    body = {"amount": 4, "reason": "kept"}
    first = ledger.caller.post(f"/v1/accounts/{account_id}/debits", body, key="kept-for-ever")
    position = expect(201, first)["position"]
    (event,) = expect(200, ledger.caller.get("/v1/events", after=position - 1, limit=1))["items"]
    assert event["idempotency_key"] == "kept-for-ever"  # in the event itself, which never goes
    found = ledger.caller.get(f"/v1/accounts/{account_id}/commands/kept-for-ever")
    assert (found.status_code, found.content) == (201, first.content)


def test_hole_06_a_key_is_one_accounts_and_one_requests(ledger: LiveLedger) -> None:
    """Keys were global, unchecked and bore no fingerprint: another's request could be answered."""
    mine, yours = new_account(), new_account()
    for account_id in (mine, yours):
        ledger.caller.grant(account_id, 50)
    body = {"amount": 10, "reason": "same"}
    answers = [
        expect(201, ledger.caller.post(f"/v1/accounts/{account_id}/debits", body, key="same"))
        for account_id in (mine, yours)
    ]
    assert [answer["account"]["account_id"] for answer in answers] == [mine, yours]
    others = [
        (f"/v1/accounts/{mine}/debits", {**body, "amount": 11}),
        (f"/v1/accounts/{mine}/grants", {"amount": 10, "source": "promo"}),
        (f"/v1/accounts/{mine}/debits/{answers[0]['debit']['debit_id']}/refunds", {"reason": "a"}),
        ("/v1/generations", ordering(mine)),
    ]
    for path, other in others:
        reused = ledger.caller.post(path, other, key="same")
        assert expect(422, reused)["code"] == "idempotency_key_reused"
    assert ledger.caller.balance(mine)["posted"] == 40


@pytest.mark.parametrize("path", ["/v1/generations", "/v1/accounts/none/debits"])
def test_hole_06_nothing_is_paid_without_a_proper_key(ledger: LiveLedger, path: str) -> None:
    """A key could be left out or be anything; a lost answer was then met by paying twice."""
    missing = ledger.caller.post(path, ordering("none"), key="")
    assert expect(400, missing)["code"] == "idempotency_key_missing"
    for key in ("two words", "k" * 256):
        answer = ledger.caller.post(path, ordering("none"), key=key)
        assert expect(400, answer)["code"] == "validation_failed"


def test_hole_06_a_client_repeats_under_the_same_key(ledger: LiveLedger) -> None:
    """The client made a new key for every call, so its retries were never known as such."""
    account_id = new_account()
    ledger.caller.grant(account_id, 50)
    with losing_first_answer(ledger.url) as (url, keys):

        async def spend() -> int:
            assert ledger.caller.key is not None
            async with LedgerClient(url, ledger.caller.key) as client:
                request = DebitRequest(amount=20, reason="lost")
                reply = await client.debit(account_id, request, key="through-the-fog")
                return reply.account.balance.posted

        assert asyncio.run(spend()) == 30
    assert keys == ["through-the-fog", "through-the-fog"]
    assert ledger.caller.balance(account_id)["posted"] == 30


@contextmanager
def losing_first_answer(ledger_url: str) -> Iterator[tuple[str, list[str | None]]]:
    """A way to the ledger on which the first answer is lost; with the keys that passed by."""
    keys: list[str | None] = []

    class Fog(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            names = ("Authorization", "Content-Type", "Idempotency-Key")
            headers = {name: self.headers[name] for name in names}
            answer = httpx.post(
                ledger_url + self.path, content=content, headers=headers, trust_env=False
            )
            keys.append(headers["Idempotency-Key"])
            if len(keys) == 1:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is its failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fog)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
