"""Everything that the provider's emulator can do wrong, from an order to its last credit.

All orders are placed at once on one stack; then each misbehaviour is a case of its own. What ends
at a deadline alone is in `test_generations_deadlines.py`, what a fault of our own processes adds in
the modules beside it. Together they leave out nothing that `directives.KNOWN` and
`outage.MEANINGS` name: `test_no_misbehaviour_is_left_out`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from deploy.emulators.fal import directives
from deploy.emulators.fal.errors import CATALOGUE
from deploy.emulators.fal.outage import MEANINGS
from tests.acceptance.test_generations_deadlines import ENDLESS
from tests.fixtures.checker import Log, check, check_replay
from tests.fixtures.customer import PRICE_CREDITS, Customer
from tests.fixtures.stack import Stack, eventually
from tests.integration.test_fal_emulator_adapter import EXPECTED

pytestmark = pytest.mark.slow

OUTAGE_SECONDS = 0.7
ERRORS = {(kind.status_code, kind.shape, kind.retryable): name for name, kind in CATALOGUE.items()}
"""One of fal's errors for each way in which they differ to a client."""
HALF_A_FILM = ("[[fal:media-wrong-length]]", "[[fal:nsfw]]")
"""Four seconds come of the eight that were ordered, and four are paid for."""
BUSY = "[[fal:submit-429=1]]"
BARRED = "[[fal:submit-401=1]]"
"""Refused once and tried again. Nobody submits while a key is not taken: it comes last, alone."""
LOCKED = "submit-403"
"""An empty balance, whose lock is a test of its own: `test_provider_account_is_locked`."""


def told(text: str) -> tuple[str, str]:
    """How a prompt's generation ends: its status and, unless that is a success, the reason."""
    word, reason = EXPECTED[text]
    assert word.split(",")[0] in ("succeeded", "failed", "refused"), word
    return ("succeeded", "") if word == "succeeded" else ("failed", reason)


def endings() -> Mapping[str, tuple[str, str]]:
    """Every misbehaviour that comes to an end by itself."""
    others = ("fail", "submit-401", "submit-429", LOCKED, *ENDLESS)
    names = [name for name in directives.KNOWN if name not in others]
    texts = [text for name in names for text in directives.written(name)]
    texts += [f"[[fal:fail={name}]]" for name in ERRORS.values()]
    return {text: told(text) for text in texts} | dict.fromkeys((BUSY, BARRED), ("succeeded", ""))


ENDINGS = endings()


@pytest.fixture(scope="module")
def ended(shared_stack: Stack) -> Iterator[Customer]:
    """A customer whose every order has ended."""
    shared_stack.heal()
    customer = Customer(shared_stack)
    for wave in ([text for text in ENDINGS if text != BARRED], [BARRED]):
        for text in wave:
            customer.order(text, ENDINGS[text][0])
        customer.wait()
    yield customer
    customer.caller.http.close()
    shared_stack.forget_troubles()


@pytest.fixture(scope="module")
def generations(ended: Customer) -> dict[str, Any]:
    """Its generations, by the prompt."""
    shown = ended.generations()
    return {order.prompt: shown[order.generation_id] for order in ended.orders}


@pytest.fixture(scope="module")
def log(ended: Customer) -> Log:
    """All events of the tenant."""
    return Log(ended)


def test_no_misbehaviour_is_left_out() -> None:
    """A new one needs an ending here, or a place among those that never end."""
    named = {name for text in ENDINGS for name in directives.parse(text).given}
    assert named | set(ENDLESS) | {LOCKED} == set(directives.KNOWN)


@pytest.mark.parametrize("text", ENDINGS)
def test_each_misbehaviour_has_its_ending(
    shared_stack: Stack, generations: dict[str, Any], log: Log, text: str
) -> None:
    """The status, the reason, the credits and the number of submits that it must come to."""
    generation = generations[text]
    status, reason = ENDINGS[text]
    assert generation["status"] == status, generation["failure"]
    assert (generation["failure"] or {"reason": ""})["reason"] == reason
    given_back = 0 if status == "succeeded" else PRICE_CREDITS
    if status == "succeeded" and text in HALF_A_FILM:
        given_back = PRICE_CREDITS // 2
    assert generation["refunded"] == sum(log.refunds(generation["debit_id"])) == given_back
    accepted = shared_stack.submits(generation=generation["generation_id"])
    assert len(accepted) == (0 if text == "[[fal:submit-422]]" else 1)
    assert {submit["with_same_tags"] for submit in accepted} <= {1}


def test_together_they_leave_the_books_in_order(stack: Stack, ended: Customer) -> None:
    """The balance is what was granted less what was charged, and the log folds to it."""
    charged = sum(item["charged"] - item["refunded"] for item in ended.generations().values())
    assert ended.caller.balance(ended.account_id)["posted"] == ended.granted - charged
    assert ended.open() == {}
    check_replay(stack)


def test_a_cooperating_model_stops_when_it_is_told_to(stack: Stack, customer: Customer) -> None:
    """It answers 499, and nobody pays."""
    order = customer.order("[[fal:cooperative]][[fal:slow=60]]", "cancelled")
    eventually(lambda: customer.statuses()[order.generation_id] == "running", "it runs")
    path = f"/v1/generations/{order.generation_id}/cancel"
    assert customer.caller.post(path, {}).status_code == 202
    customer.wait()
    check(stack, customer)


def test_no_kind_of_outage_ends_anything(stack: Stack, customer: Customer) -> None:
    """Reset connections, silence and a proxy's page, one after the other, while jobs run: they are
    asked for again, and end as they should."""
    orders = [customer.order("[[fal:slow=2]]", "succeeded") for _ in range(3)]
    orders.append(customer.order("[[fal:slow=2]][[fal:fail]]", "failed"))
    running = {order.generation_id: "running" for order in orders}
    eventually(lambda: customer.statuses() == running, "all of them run")
    with httpx.Client(base_url=stack.fal_url, trust_env=False) as admin:
        for mode in MEANINGS:
            fields = {"seconds": OUTAGE_SECONDS, "mode": mode}
            admin.post("/admin/outage", json=fields).raise_for_status()
            time.sleep(OUTAGE_SECONDS)
    customer.wait()
    check(stack, customer)
