"""Holes 28 and 31, and drifting prices: what is on offer, for how much, and who says so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger_service.errors import RefusedToStart
from ledger_service.generations.document import parse_document, shipped
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.naive_prices import least_input

pytestmark = pytest.mark.slow


def test_hole_28_many_models_are_on_offer_at_once(ledger: LiveLedger) -> None:
    """Two active models stopped every generation: the code looked for the only one."""
    account_id = new_account()
    ledger.caller.grant(account_id, 2_000)
    models = expect(200, ledger.caller.get("/v1/models"))["items"]
    assert len([model for model in models if model["available"]]) > 10
    ordered = [
        expect(
            202,
            ledger.caller.post(
                "/v1/generations",
                {
                    "account_id": account_id,
                    "model": model["model"],
                    "input": least_input(model["input_schema"]),
                },
            ),
        )["generation"]["model"]
        for model in models
    ]
    assert ordered == [model["model"] for model in models]


def test_a_price_is_one_number_everywhere(ledger: LiveLedger) -> None:
    """Client, backend and refund each had a price of their own, and none was compared."""
    account_id, content = new_account(), {"prompt": "a boat", "duration": "6s"}
    ledger.caller.grant(account_id, 100)
    asked = {"model": "veo-3.1-lite", "input": content}
    quote = expect(200, ledger.caller.post("/v1/quotes", asked, key=""))
    body = {"account_id": account_id, **asked, "quote_id": quote["quote_id"]}
    reply = expect(202, ledger.caller.post("/v1/generations", body))
    path = f"/v1/generations/{reply['generation']['generation_id']}"
    for told in (reply["generation"], expect(200, ledger.caller.get(path))):
        assert told["price"] == told["charged"] == quote["price"] == 15
        assert [told["price_line"]] == quote["lines"]
        assert told["quote_id"] == quote["quote_id"]
    assert ledger.caller.balance(account_id)["posted"] == 85


def test_a_quoted_price_is_honoured_or_refused_and_never_drifts(ledger: LiveLedger) -> None:
    """Between showing a price and charging one anything could change, and nobody was told: a quote
    is for one model and input, and for another one it is refused, at no charge."""
    account_id, short = new_account(), {"prompt": "a boat", "duration": "4s"}
    ledger.caller.grant(account_id, 100)
    asked = {"model": "veo-3.1-lite", "input": short}
    quote = expect(200, ledger.caller.post("/v1/quotes", asked, key=""))
    told = {"account_id": account_id, "quote_id": quote["quote_id"]}
    longer = {"model": "veo-3.1-lite", "input": {**short, "duration": "8s"}}
    refused = expect(404, ledger.caller.post("/v1/generations", {**told, **longer}))
    assert refused["code"] == "quote_not_found"
    assert ledger.caller.balance(account_id)["posted"] == 100
    made = expect(202, ledger.caller.post("/v1/generations", {**told, **asked}))["generation"]
    assert (made["charged"], made["quote_id"]) == (quote["price"], quote["quote_id"])
    assert ledger.caller.balance(account_id)["posted"] == 100 - quote["price"]


@pytest.mark.parametrize(("credit_micros", "is_loss"), [(20_000, False), (19_999, True)])
def test_hole_31_a_model_is_not_sold_below_its_cost(credit_micros: int, is_loss: bool) -> None:
    """Credits sold at 4 to 10 cents bought what cost the maker 10: nothing compared the two."""
    document: dict[str, Any] = msgspec.to_builtins(shipped())
    document["credit_micros"] = credit_micros
    document["models"][0]["price"]["unit_cost_micros"] = 50_000  # 2.5 credits a second
    raw = msgspec.json.encode(document)
    if not is_loss:
        assert parse_document(raw, "test").credit_micros == credit_micros
        return
    with pytest.raises(RefusedToStart, match=r"veo-3\.1-lite: sold below cost"):
        parse_document(raw, "test")
