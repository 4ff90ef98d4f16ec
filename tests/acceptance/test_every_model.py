"""Every model that is shipped, from the order to a stored file, against the provider's emulator."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest

from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.document import shipped
from tests.fixtures.checker import check_replay
from tests.fixtures.customer import Customer
from tests.fixtures.live import expect
from tests.fixtures.naive_prices import least_input
from tests.fixtures.stack import Stack, eventually

pytestmark = pytest.mark.slow

MODELS = {model.model: model for model in Catalogue(shipped()).models()}
SHOTS = [{"prompt": "a boat", "duration": "3"}, {"prompt": "a storm", "duration": "4"}]


def ordered(customer: Customer, model: str, content: dict[str, Any]) -> Any:
    """Order, wait for the end; returns the generation."""
    body = {"account_id": customer.account_id, "model": model, "input": content}
    reply = expect(202, customer.caller.post("/v1/generations", body))
    path = f"/v1/generations/{reply['generation']['generation_id']}"
    eventually(lambda: customer.caller.get(path).json()["finished_at"], f"the end of {model}")
    return expect(200, customer.caller.get(path))


def check(stack: Stack, made: Any, kind: str) -> Any:
    """A stored file of this kind, and one submit; returns what the provider was sent."""
    assert made["status"] == "succeeded", made["failure"]
    assert made["result"]["content_type"].startswith(f"{kind}/")
    stored = [path.read_bytes() for path in stack.media.rglob("*") if path.is_file()]
    assert made["result"]["sha256"] in {hashlib.sha256(content).hexdigest() for content in stored}
    (submit,) = stack.submits(generation=made["generation_id"])
    return submit


@pytest.mark.parametrize("name", MODELS)
def test_every_shipped_model_can_be_had(stack: Stack, customer: Customer, name: str) -> None:
    """Its least input becomes a file, for the price on the list, at its own endpoint."""
    model = MODELS[name]
    made = ordered(customer, name, least_input(model.input_schema))
    submit = check(stack, made, model.kind)
    (entry,) = [entry for entry in shipped().models if entry.model == name]
    assert submit["endpoint"] == entry.endpoint
    assert made["charged"] == made["price"] == model.price
    assert customer.caller.balance(customer.account_id)["posted"] == (
        customer.granted - model.price
    )


def test_images_come_together(stack: Stack, customer: Customer) -> None:
    """Four images are four files under one generation, for four times the price of one."""
    content = {"prompt": "four boats", "image_size": "square", "num_images": 4}
    made = ordered(customer, "flux-dev", content)
    assert made["status"] == "succeeded"
    assert made["result"] == made["results"][0]
    assert len({result["sha256"] for result in made["results"]}) == 4
    for result in made["results"]:
        assert hashlib.sha256(httpx.get(result["url"]).content).hexdigest() == result["sha256"]
    assert made["price_line"]["quantity"] == 4
    assert made["charged"] == made["price"] > 0
    assert made["refunded"] == 0


def test_what_was_paid_for_and_did_not_come_is_given_back(stack: Stack, customer: Customer) -> None:
    """A film that is shorter than ordered costs what its seconds cost, by the line it was sold
    under; the debit of the others comes back with the success, once."""
    content = {"prompt": "half a boat [[fal:media-wrong-length]]", "duration": "8s"}
    made = ordered(customer, "veo-3.1-lite", content)
    assert made["status"] == "succeeded"
    assert made["result"]["duration_seconds"] == 4
    assert (made["charged"], made["refunded"]) == (20, 10)
    assert made["refund_id"] is not None
    assert customer.caller.balance(customer.account_id)["posted"] == customer.granted - 10
    check_replay(stack)


def test_shots_are_made_and_paid_for_one_by_one(stack: Stack, customer: Customer) -> None:
    """Seven seconds in two shots cost seven seconds."""
    made = ordered(customer, "kling-3-standard", {"multi_prompt": SHOTS})
    check(stack, made, "video")
    assert made["price_line"]["quantity"] == 7
    assert made["price"] == 89  # 7 x 12.6, rounded up
