"""Commands by their keys: looked up, and voided; a void and its command have one winner."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes

pytestmark = pytest.mark.slow


def address(account_id: str, key: str, rest: str = "") -> str:
    """Where a command is looked up or voided."""
    return f"/v1/accounts/{account_id}/commands/{quote(key, safe='')}{rest}"


def void(ledger: LiveLedger, account_id: str, key: str) -> httpx.Response:
    """Void a key; the request itself bears none."""
    return ledger.caller.http.post(address(account_id, key, "/void"))


def test_a_voided_key_never_takes_effect(ledger: LiveLedger) -> None:
    """The command is refused from then on, whatever it is; the balance stays."""
    account_id = new_account()
    ledger.caller.grant(account_id, 50)
    answer = expect(200, void(ledger, account_id, "late"))
    assert answer["voided"] is True
    assert answer["account"]["balance"]["posted"] == 50
    assert answer["position"] == answer["account"]["position"]
    path = f"/v1/accounts/{account_id}"
    for way, body in (
        ("debits", {"amount": 5, "reason": "late"}),
        ("grants", {"amount": 5, "source": "promo"}),
    ):
        problem = expect(409, ledger.caller.post(f"{path}/{way}", body, key="late"))
        assert problem["code"] == "command_voided"
    asked = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    assert ledger.caller.post("/v1/generations", asked, key="late").status_code == 409
    assert ledger.caller.balance(account_id)["posted"] == 50


def test_voiding_again_says_the_same(ledger: LiveLedger) -> None:
    """Byte for byte, as a replay; so does the look-up, and a quoted key is the same key."""
    account_id = new_account()
    ledger.caller.grant(account_id, 50)
    first = void(ledger, account_id, "twice")
    assert "Idempotent-Replayed" not in first.headers
    ledger.caller.grant(account_id, 1)
    for again in (void(ledger, account_id, "twice"), void(ledger, account_id, '"twice"')):
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
    found = ledger.caller.get(address(account_id, "twice"))
    assert (found.status_code, found.content) == (200, first.content)


def test_what_was_applied_is_not_voided(ledger: LiveLedger) -> None:
    """Its first answer comes instead, free text included, and the command can be replayed."""
    account_id = new_account()
    ledger.caller.grant(account_id, 50)
    path = f"/v1/accounts/{account_id}/debits"
    body = {"amount": 5, "reason": "free text, ünïcode", "metadata": {"a": 1}}
    first = ledger.caller.post(path, body, key="early")
    answer = void(ledger, account_id, "early")
    assert (answer.status_code, answer.content) == (201, first.content)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert ledger.caller.post(path, body, key="early").content == first.content


@pytest.mark.parametrize("key", ["a/b", "50%", "x?y#z", "~!@$&'()*+,;=:[]"])
def test_any_key_can_be_named_in_a_path(ledger: LiveLedger, key: str) -> None:
    """Percent-encoded, a key with a slash in it is one part of the path."""
    account_id = new_account()
    path, body = f"/v1/accounts/{account_id}/grants", {"amount": 5, "source": "promo"}
    first = ledger.caller.post(path, body, key=key)
    assert ledger.caller.get(address(account_id, key)).content == first.content
    assert void(ledger, account_id, key).content == first.content
    expect(200, void(ledger, account_id, f"{key}/other"))
    assert ledger.caller.post(path, body, key=f"{key}/other").status_code == 409


def test_nothing_is_voided_where_there_is_nothing(ledger: LiveLedger) -> None:
    """An account that does not exist, a foreign one, and a key that is none."""
    foreign, account_id = new_account(), new_account()
    ledger.other.grant(foreign, 5)
    for owner in (foreign, new_account()):
        assert expect(404, void(ledger, owner, "x"))["code"] == "account_not_found"
    ledger.caller.grant(account_id, 5)
    assert void(ledger, account_id, "with space").status_code == 400
    assert void(ledger, account_id, "x" * 256).status_code == 400
    reading = ledger.reader.http.post(address(account_id, "x", "/void"))
    assert expect(403, reading)["code"] == "forbidden"


@pytest.fixture(scope="module")
def twins(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """A ledger of two serving processes."""
    processes = Processes(tmp_path_factory.mktemp("twins"))
    database = postgres.new_database(TEMPLATE)
    live = serve(processes, database, "--workers", "2")
    yield live
    live.close()
    processes.end_all()
    postgres.drop(database)


async def race(ledger: LiveLedger, account_id: str, key: str) -> list[httpx.Response]:
    """Ten spends and ten voids of their key, all at once."""
    headers = {"Authorization": f"Bearer {ledger.caller.key}", "Idempotency-Key": key}
    body: dict[str, Any] = {"amount": 5, "reason": "race"}
    async with httpx.AsyncClient(
        base_url=ledger.url, headers=headers, timeout=30.0, trust_env=False
    ) as client:
        calls = []
        for _ in range(10):
            calls.append(client.post(f"/v1/accounts/{account_id}/debits", json=body))
            calls.append(client.post(address(account_id, key, "/void")))
        return list(await asyncio.gather(*calls))


def test_a_void_and_its_command_have_one_winner(twins: LiveLedger) -> None:
    """Every caller hears of the same one, and the balance agrees with it."""
    account_id = new_account()
    twins.caller.grant(account_id, 1000)
    spent, winners = 0, Counter[str]()
    for number in range(20):
        answers = asyncio.run(race(twins, account_id, f"race-{number}"))
        spends, voids = answers[::2], answers[1::2]
        (told,) = {answer.content for answer in voids}
        if voids[0].json().get("voided"):
            winners["void"] += 1
            assert {answer.status_code for answer in spends} == {409}
            assert {answer.json()["code"] for answer in spends} == {"command_voided"}
        else:
            winners["spend"] += 1
            spent += 5
            assert {answer.content for answer in spends} == {told}
        effective = [a for a in answers if a.is_success and "idempotent-replayed" not in a.headers]
        assert len(effective) == 1
    assert twins.caller.balance(account_id)["posted"] == 1000 - spent
    assert winners.total() == 20
