"""Holes 1 to 3: what is charged, what is paid back, and what the ledger knows of it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.fixtures.hand_worker import FAILED, REFUSED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.naive_prices import durations, least_input, naive_price

pytestmark = pytest.mark.slow


def order(ledger: LiveLedger, account_id: str, model: str, **content: Any) -> Any:
    """Ask for a generation; returns the reply."""
    body = {"account_id": account_id, "model": model, "input": content or {"prompt": "a boat"}}
    return expect(202, ledger.caller.post("/v1/generations", body))


def variants(model: Any) -> list[dict[str, Any]]:
    """Inputs of a model: the least, and the shortest and the longest that it makes."""
    least = least_input(model["input_schema"])
    lengths = durations(model["input_schema"])
    return [least, *({**least, "duration": length} for length in lengths)]


def models(ledger: LiveLedger) -> list[Any]:
    """The price list."""
    items: list[Any] = expect(200, ledger.caller.get("/v1/models"))["items"]
    return items


def generation(ledger: LiveLedger, generation_id: str) -> Any:
    """The generation as it stands now."""
    return expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))


def entries(ledger: LiveLedger, account_id: str) -> list[Any]:
    """The statement, oldest first."""
    page = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/entries", limit=200))
    assert page["next_cursor"] is None
    return list(reversed(page["items"]))


@pytest.mark.parametrize("verdict", [REFUSED, FAILED])
def test_hole_01_a_failure_pays_back_exactly_what_was_charged(
    ledger: LiveLedger, verdict: dict[str, Any]
) -> None:
    """The refund was computed anew, and higher than the charge: each bad request made credits."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 300)
    for model in models(ledger):
        for content in variants(model):
            ordered = order(ledger, account_id, model["model"], **content)["generation"]
            claim = worker.claim(ordered["generation_id"])
            expect(200, worker.report(claim, verdict))
            ended = generation(ledger, ordered["generation_id"])
            assert (ended["status"], ended["refunded"]) == ("failed", ordered["charged"])
            assert ledger.caller.balance(account_id)["posted"] == 300
    assert max(entry["posted_after"] for entry in entries(ledger, account_id)) == 300


def test_hole_01_a_job_is_refunded_once_whoever_refunds_it(ledger: LiveLedger) -> None:
    """Refunds named neither job nor charge, so nothing stopped a second one for the same job."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 20)
    ordered = order(ledger, account_id, models(ledger)[0]["model"])["generation"]
    ledger.caller.refund(account_id, ordered["debit_id"], amount=5)
    claim = worker.claim(ordered["generation_id"])
    for _ in range(3):
        expect(200, worker.report(claim, FAILED))
    assert generation(ledger, ordered["generation_id"])["refunded"] == 20
    path = f"/v1/accounts/{account_id}/debits/{ordered['debit_id']}"
    refused = ledger.caller.post(f"{path}/refunds", {"reason": "again"})
    assert expect(409, refused)["code"] == "refund_exceeds_debit"
    refunds = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/refunds"))["items"]
    assert [refund["amount"] for refund in refunds] == [15, 5]
    assert {refund["debit_id"] for refund in refunds} == {ordered["debit_id"]}
    assert ledger.caller.balance(account_id)["posted"] == 20


def test_the_last_credits_are_spent_once_and_the_others_hear_the_true_numbers(
    ledger: LiveLedger,
) -> None:
    """Of twenty orders at once for the credits of three, three are made, and each of the others is
    told what there was and what was needed."""
    account_id = new_account()
    ledger.caller.grant(account_id, 70)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}

    def ask(_: int) -> httpx.Response:
        return ledger.caller.post("/v1/generations", body)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert Counter(answer.status_code for answer in answers) == {202: 3, 402: 17}
    for told in (answer.json() for answer in answers if answer.status_code == 402):
        assert told["code"] == "insufficient_credits"
        assert told["required"] == 20
        assert told["available"] == 20 - told["shortfall"] < 20
    assert ledger.caller.balance(account_id)["posted"] == 10


def test_hole_02_what_is_asked_for_is_priced_told_and_charged(ledger: LiveLedger) -> None:
    """Twelve seconds were answered as twelve credits, charged as four, and cost the maker more."""
    account_id, left = new_account(), 10_000
    ledger.caller.grant(account_id, left)
    for model in models(ledger):
        prices = []
        for content in variants(model):
            price = naive_price(model["price_rule"], model["input_schema"], content)
            quote = {"model": model["model"], "input": content}
            assert expect(200, ledger.caller.post("/v1/quotes", quote, key=""))["price"] == price
            reply = order(ledger, account_id, model["model"], **content)
            told = reply["generation"]
            assert told["price"] == told["charged"] == told["price_line"]["total"] == price
            left -= price
            assert reply["account"]["balance"]["posted"] == left
            path = f"/v1/accounts/{account_id}/debits/{told['debit_id']}"
            assert expect(200, ledger.caller.get(path))["amount"] == price
            prices.append(price)
        assert prices[0] == model["price"]
        assert prices[1:] == sorted(set(prices[1:])), "what is longer costs more"
        longer = {**content, "duration": "61s"}  # what has no price cannot be had
        body = {"account_id": account_id, "model": model["model"], "input": longer}
        assert expect(400, ledger.caller.post("/v1/generations", body))["errors"]
    assert ledger.caller.balance(account_id)["posted"] == left


def test_hole_03_every_spend_is_in_the_ledger(ledger: LiveLedger) -> None:
    """Spends changed the balance and wrote no line: balance 6, sum of the ledger 10."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 100)
    ledger.caller.debit(account_id, 30)
    kept = order(ledger, account_id, models(ledger)[0]["model"])["generation"]
    failed = order(ledger, account_id, models(ledger)[0]["model"])["generation"]
    expect(200, worker.report(worker.claim(failed["generation_id"]), FAILED))
    sign = {"credit": 1, "debit": -1, "none": 0}
    statement = entries(ledger, account_id)
    balance = ledger.caller.balance(account_id)["posted"]
    assert sum(sign[entry["direction"]] * entry["amount"] for entry in statement) == balance == 50
    spent = [entry for entry in statement if entry["type"] == "credits_debited"]
    assert [entry["amount"] for entry in spent] == [30, 20, 20]
    by_generation = [entry["details"].get("generation_id") for entry in spent]
    assert by_generation == [None, kept["generation_id"], failed["generation_id"]]
