"""Batches: every command has the effect and the answer that it would have had alone."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from contracts.api.batches import BatchOp
from contracts.api.debits import DebitReply
from contracts.client import LedgerClient
from ledger_service.api.batches import OPERATIONS
from tests.fixtures.examples import case_of
from tests.fixtures.live import Caller, LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

_numbers = itertools.count(1)


def granting(account_id: str, amount: int, **more: Any) -> dict[str, Any]:
    """A grant under a key of its own."""
    return command("grant", account_id, amount=amount, source="promo", **more)


def spending(account_id: str, amount: int, **more: Any) -> dict[str, Any]:
    """A spend under a key of its own."""
    return command("debit", account_id, amount=amount, reason="test", **more)


def command(op: str, account_id: str, **fields: Any) -> dict[str, Any]:
    """One command of a batch."""
    key = f"batch-{next(_numbers)}"
    return {"op": op, "account_id": account_id, "idempotency_key": key, **fields}


def send(caller: Caller, *commands: Any, **query: str) -> list[Any]:
    """The results of a batch; it needs no key."""
    answer = caller.http.post("/v1/batches", json={"commands": commands}, params=query)
    results: list[Any] = expect(200, answer)["results"]
    assert len(results) == len(commands)
    return results


def alone(caller: Caller, way: str, given: dict[str, Any]) -> httpx.Response:
    """The same command as a request of its own."""
    body = {
        name: value
        for name, value in given.items()
        if name not in {"op", "account_id", "idempotency_key", "debit_id"}
    }
    path = f"/v1/accounts/{given['account_id']}/{way}"
    return caller.post(path, body, key=given["idempotency_key"])


def test_every_op_is_an_operation() -> None:
    """What a batch can do can be done alone."""
    assert set(OPERATIONS) == set(BatchOp)


def test_commands_are_carried_out_in_order(ledger: LiveLedger) -> None:
    """Each sees what those before it did."""
    account_id = new_account()
    results = send(
        ledger.caller,
        granting(account_id, 100),
        spending(account_id, 70),
        spending(account_id, 70),
        granting(account_id, 40),
        spending(account_id, 70),
    )
    assert [result["status"] for result in results] == [201, 201, 402, 201, 201]
    assert results[2]["body"]["shortfall"] == 40
    assert ledger.caller.balance(account_id)["posted"] == 0


def test_a_command_is_answered_as_if_it_had_come_alone(ledger: LiveLedger) -> None:
    """A retry by itself is a replay of the batch's answer, and the other way round."""
    account_id = new_account()
    grant, debit = granting(account_id, 100, metadata={"b": 1, "a": "ü"}), spending(account_id, 30)
    first, second = send(ledger.caller, grant, debit)
    refund = command("refund", account_id, debit_id=second["body"]["debit"]["debit_id"], reason="x")
    (third,) = send(ledger.caller, refund)
    ways = ("grants", "debits", f"debits/{refund['debit_id']}/refunds")
    given = list(zip((first, second, third), ways, (grant, debit, refund), strict=True))
    for result, way, sent in given:
        again = alone(ledger.caller, way, sent)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert (again.status_code, again.json()) == (result["status"], result["body"])
    later = spending(account_id, 5)
    expected = alone(ledger.caller, "debits", later)
    (replayed,) = send(ledger.caller, later)
    assert replayed == {"status": 201, "body": expected.json(), "replayed": True}
    assert "replayed" not in first
    assert ledger.caller.balance(account_id)["posted"] == 95


@pytest.mark.parametrize("op", BatchOp)
def test_every_op_does_what_its_operation_does(ledger: LiveLedger, op: BatchOp) -> None:
    """Its example in a batch, and then alone under the same key: one effect, one answer."""
    operation = OPERATIONS[op]
    case = case_of(ledger.caller, operation)
    key = f"op-{new_account()}"
    (result,) = send(
        ledger.caller, {"op": op, "idempotency_key": key, **case.ids, **(case.body or {})}
    )
    again = case.send(ledger.caller, key=key)
    assert result["status"] == operation.endpoint.status
    assert (again.status_code, again.json()) == (result["status"], result["body"])
    assert again.headers["Idempotent-Replayed"] == "true"


def test_refusals_are_those_of_the_single_operation(ledger: LiveLedger) -> None:
    """The same documents, with the path of the single operation as their instance."""
    account_id, missing = new_account(), new_account()
    ledger.caller.grant(account_id, 10)
    cases = [
        ("debits", spending(account_id, 30)),
        ("debits", spending(missing, 30)),
        ("debits", spending(account_id, 0)),
        ("debits", spending(account_id, 5, surprise=True)),
        ("grants", granting(account_id, 5, metadata={"a": "x" * 5000})),
        ("debits", spending("no such id", 5)),
        ("debits/dbt_x/refunds", command("refund", account_id, debit_id="dbt_x", reason="x")),
        ("debits", {**spending(account_id, 5), "idempotency_key": "with space"}),
        ("debits", {**spending(account_id, 5), "idempotency_key": ""}),
    ]
    results = send(ledger.caller, *[given for _, given in cases])
    for (way, given), result in zip(cases, results, strict=True):
        expected = alone(ledger.caller, way, given)
        told = {**expected.json()}
        for error in told.get("errors", ()):
            error["pointer"] = error["pointer"].replace("Idempotency-Key", "/idempotency_key")
        assert (result["status"], result["body"]) == (expected.status_code, told)


def test_one_key_twice_has_one_effect(ledger: LiveLedger) -> None:
    """The second is a replay; with another body it is refused."""
    account_id = new_account()
    grant = granting(account_id, 10)
    first, again, other = send(ledger.caller, grant, grant, {**grant, "amount": 11})
    assert (again["status"], again["body"]) == (first["status"], first["body"])
    assert ("replayed" in first, again["replayed"]) == (False, True)
    assert (other["status"], other["body"]["code"]) == (422, "idempotency_key_reused")
    assert ledger.caller.balance(account_id)["posted"] == 10


def test_a_malformed_command_spoils_no_other(ledger: LiveLedger) -> None:
    """It is a 400 in its own place."""
    account_id = new_account()
    keyless = granting(account_id, 5)
    del keyless["idempotency_key"]
    bad: list[Any] = [
        5,
        None,
        [],
        {},
        {"op": "steal", "account_id": account_id, "idempotency_key": "x"},
        {"op": ["grant"], "account_id": account_id, "idempotency_key": "x"},
        {"op": "grant", "idempotency_key": "x", "amount": 5, "source": "promo"},
        {**granting(account_id, 5), "account_id": 7},
        {**granting(account_id, 5), "idempotency_key": 7},
        keyless,
        granting(account_id, True),
    ]
    results = send(ledger.caller, *bad, granting(account_id, 5))
    assert [result["status"] for result in results] == [400] * len(bad) + [201]
    codes = Counter(result["body"].get("code") for result in results)
    assert codes == {"validation_failed": len(bad) - 1, "idempotency_key_missing": 1, None: 1}
    assert ledger.caller.balance(account_id)["posted"] == 5


@pytest.mark.parametrize(
    "body",
    [
        b'{"commands": []}',
        b'{"commands": {}}',
        b"{}",
        b"[]",
        b'{"commands": [{}], "more": 1}',
        b'{"commands": [{"op": "grant", "op": "grant"}]}',
        b'{"commands": [{"op": "\\u0000"}]}',
        b'{"commands": [' + b"[" * 40 + b"]" * 40 + b"]}",
        b'{"commands": [' + b"{}," * 1000 + b"{}]}",
    ],
    ids=range(9),
)
def test_a_malformed_batch_is_refused_as_a_whole(ledger: LiveLedger, body: bytes) -> None:
    """Nothing of it is carried out."""
    headers = {"Content-Type": "application/json"}
    answer = ledger.caller.http.post("/v1/batches", content=body, headers=headers)
    assert expect(400, answer)["code"] == "validation_failed"


def test_a_batch_has_a_limit_of_its_own(ledger: LiveLedger) -> None:
    """1 MiB, not the 64 KiB of single requests."""
    account_id = new_account()
    padding = {"metadata": {"x": "y" * 1000}}
    results = send(ledger.caller, *[granting(account_id, 1, **padding) for _ in range(100)])
    assert {result["status"] for result in results} == {201}
    content = b'{"commands": [{}]' + b" " * 2**20 + b"}"
    headers = {"Content-Type": "application/json"}
    answer = ledger.caller.http.post("/v1/batches", content=content, headers=headers)
    assert expect(413, answer)["size_max_bytes"] == 2**20


def test_each_command_needs_its_own_scope(ledger: LiveLedger) -> None:
    """A key for spending spends, and grants nothing; a reader sends no batch."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    made = expect(201, ledger.caller.post("/v1/keys", {"name": "spends", "scopes": ["spend"]}))
    spender = ledger.holder_of(made["secret"])
    forbidden, spent = send(spender, granting(account_id, 5), spending(account_id, 5))
    assert (forbidden["status"], forbidden["body"]["needed_scope"]) == (403, "grant")
    assert forbidden["body"]["instance"] == f"/v1/accounts/{account_id}/grants"
    assert spent["status"] == 201
    answer = ledger.reader.http.post("/v1/batches", json={"commands": [{}]})
    assert expect(403, answer)["code"] == "forbidden"


def test_a_batch_is_of_one_tenant(ledger: LiveLedger) -> None:
    """Another tenant's account is one that does not exist."""
    foreign = new_account()
    ledger.other.grant(foreign, 10)
    (result,) = send(ledger.caller, spending(foreign, 5))
    assert (result["status"], result["body"]["code"]) == (404, "account_not_found")


def test_a_thousand_commands_at_once_all_take_effect(ledger: LiveLedger) -> None:
    """And all of them are replays when the batch is sent again."""
    accounts = [new_account() for _ in range(10)]
    commands = [granting(accounts[n % 10], 7, metadata={"n": n}) for n in range(1000)]
    http = httpx.Client(
        base_url=ledger.url, headers=ledger.caller.http.headers, timeout=60.0, trust_env=False
    )
    with http:
        first, again = (
            expect(200, http.post("/v1/batches", json={"commands": commands}))["results"]
            for _ in range(2)
        )
    assert {result["status"] for result in first} == {201}
    assert [result["body"]["grant"]["metadata"]["n"] for result in first] == list(range(1000))
    assert again == [{**result, "replayed": True} for result in first]
    for account_id in accounts:
        assert ledger.caller.balance(account_id)["posted"] == 700


def test_a_batch_can_be_tried_out(ledger: LiveLedger) -> None:
    """Each command is judged by the balance as it is: a dry run does nothing that another sees."""
    account_id = new_account()
    ledger.caller.grant(account_id, 50)
    spend = spending(account_id, 40)
    del spend["idempotency_key"]
    first, second, refused = send(
        ledger.caller, spend, spend, spending(account_id, 60), dry_run="true"
    )
    assert first["body"]["dry_run"] is True
    assert first["body"]["debit"]["debit_id"] is None
    assert first["body"]["account"]["balance"]["available"] == 10
    assert (first["status"], second["status"], refused["status"]) == (201, 201, 402)
    assert refused["body"]["available"] == 50
    assert ledger.caller.balance(account_id)["available"] == 50


def test_the_client_knows_batches_dry_runs_and_voids(ledger: LiveLedger) -> None:
    """As an app's backend would use them."""
    account_id = new_account()

    async def use() -> None:
        assert ledger.caller.key is not None
        async with LedgerClient(ledger.url, ledger.caller.key) as client:
            commands = [granting(account_id, 10), spending(account_id, 4), spending(account_id, 9)]
            planned = await client.batch(commands[:1], dry_run=True)
            assert planned.results[0].status == 201
            reply = await client.batch(commands)
            assert [result.status for result in reply.results] == [201, 201, 402]
            spent = msgspec.json.decode(reply.results[1].body, type=DebitReply)
            assert spent.debit.amount == 4
            applied = await client.void_command(account_id, commands[1]["idempotency_key"])
            assert not applied.voided
            assert (await client.void_command(account_id, "never/sent")).voided
            assert applied.account == spent.account

    asyncio.run(use())
    assert ledger.caller.balance(account_id)["posted"] == 6
