"""Who may do what: every operation of the table, tried with every wrong key."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx
import pytest

from contracts.api.keys import Scope
from ledger_service.api.operations import Operation, operations
from ledger_service.app import CONTROLLERS
from tests.fixtures.live import Caller, LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

ALL: Final = operations(CONTROLLERS)
PROTECTED: Final = [operation for operation in ALL if operation.endpoint.scopes]
OF_NO_TENANT: Final = (Scope.WORK, Scope.OPERATE)
OF_TENANTS: Final = [it for it in PROTECTED if it.endpoint.scopes[0] not in OF_NO_TENANT]
OF_ACCOUNTS: Final = [
    it
    for it in OF_TENANTS
    # A grant opens an account of the caller's own tenant: that case has a test of its own.
    if "{account_id}" in it.path and it.endpoint.name != "grant_credits"
]
OPEN: Final = {
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",  # a token of its own is: it must answer without the database
    "GET /schema/openapi.json",
    "GET /docs",
    "GET /v1/media/{folder}/{name}",  # the link is the permission
    "POST /v1/webhooks/fal/{generation_id}/{attempt}/{token}",  # the token is
}


def call(caller: Caller, operation: Operation, **ids: str) -> httpx.Response:
    """Ask for an operation with its example body; unknown ids are made up."""
    path = re.sub(r"{(\w+)}", lambda found: ids.get(found[1], "x"), operation.path)
    headers = {"Idempotency-Key": "matrix"} if operation.endpoint.is_keyed else {}
    body: Any = operation.endpoint.example
    if operation.endpoint.body is None:
        query = {"amount": 1} if "amount" in operation.endpoint.query.__struct_fields__ else {}
        method = operation.endpoint.method
        return caller.http.request(method, path, headers=headers, params=query)
    return caller.http.request(operation.endpoint.method, path, json=body, headers=headers)


def by_title(operation: Operation) -> str:
    """How a case is named."""
    return operation.title


def test_nothing_is_open_by_mistake() -> None:
    """What needs no key is on this short list."""
    assert {it.title for it in ALL if not it.endpoint.scopes} == OPEN


def test_everything_with_a_body_has_an_example() -> None:
    """The reference shows how each body looks, and these tests send it."""
    with_body = [it for it in PROTECTED if it.endpoint.body is not None]
    assert [it.title for it in with_body if it.endpoint.example is None] == []


@pytest.mark.parametrize("operation", PROTECTED, ids=by_title)
def test_without_a_key_nothing_is_told(ledger: LiveLedger, operation: Operation) -> None:
    """401 with WWW-Authenticate, whatever else is wrong with the request."""
    answer = call(ledger.nobody, operation)
    assert expect(401, answer)["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.fixture(scope="module")
def scoped(ledger: LiveLedger) -> dict[Scope, Caller]:
    """A caller for each scope that has every scope but this one."""
    callers: dict[Scope, Caller] = dict.fromkeys(OF_NO_TENANT, ledger.caller)
    everything = [scope for scope in Scope if scope not in OF_NO_TENANT]
    for missing in everything:
        body = {"name": f"no {missing}", "scopes": [it for it in everything if it != missing]}
        made = expect(201, ledger.caller.post("/v1/keys", body))
        callers[missing] = ledger.holder_of(made["secret"])
    return callers


@pytest.mark.parametrize("operation", PROTECTED, ids=by_title)
def test_a_missing_scope_is_named(
    ledger: LiveLedger, scoped: dict[Scope, Caller], operation: Operation
) -> None:
    """All other scopes together do not replace the one that is needed, or one of several."""
    needed = operation.endpoint.scopes
    answer = call(scoped[needed[0]] if len(needed) == 1 else ledger.reader, operation)
    assert expect(403, answer)["needed_scope"] == " or ".join(needed)


@pytest.mark.parametrize("operation", OF_TENANTS, ids=by_title)
def test_workers_and_operators_are_no_tenants(ledger: LiveLedger, operation: Operation) -> None:
    """The worker's key opens nothing but work, the operator's nothing of any tenant."""
    assert call(ledger.worker, operation).status_code == 403
    assert call(ledger.operator, operation).status_code == 403


@pytest.mark.parametrize("operation", OF_ACCOUNTS, ids=by_title)
def test_a_foreign_account_looks_like_a_missing_one(
    ledger: LiveLedger, operation: Operation
) -> None:
    """Same status, same document, save for the address itself; and nothing of it changes."""
    foreign, missing = new_account(), new_account()
    ledger.other.grant(foreign, 100)
    debit_id = ledger.other.debit(foreign, 1)["debit"]["debit_id"]
    grant_id = expect(200, ledger.other.get(f"/v1/accounts/{foreign}/grants"))["items"][0]
    held = {"amount": 1, "reason": "test"}
    hold = expect(201, ledger.other.post(f"/v1/accounts/{foreign}/holds", held))["hold"]
    ids = {"debit_id": debit_id, "grant_id": grant_id["grant_id"], "hold_id": hold["hold_id"]}
    before = ledger.other.get(f"/v1/accounts/{foreign}").content
    seen = call(ledger.caller, operation, account_id=foreign, **ids)
    expected = call(ledger.caller, operation, account_id=missing, **ids)
    assert seen.status_code == expected.status_code == 404
    assert seen.text.replace(foreign, "?") == expected.text.replace(missing, "?")
    assert ledger.other.get(f"/v1/accounts/{foreign}").content == before


def test_tenants_may_use_the_same_names(ledger: LiveLedger) -> None:
    """An account id, an idempotency key and a reference mean nothing to another tenant."""
    account_id = new_account()
    path, body = f"/v1/accounts/{account_id}/grants", {"amount": 5, "source": "promo"}
    mine = ledger.caller.post(path, body, key="same")
    theirs = ledger.other.post(path, {**body, "amount": 9}, key="same")
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert ledger.caller.balance(account_id)["posted"] == 5
    assert ledger.other.balance(account_id)["posted"] == 9


WRONG_KEYS: Final = [
    "Bearer",
    "Basic dXNlcjpwYXNz",
    "Bearer ck_0000000000000000_" + "0" * 64,
    "Bearer ck__",
    "Bearer " + "x" * 5000,
    "Bearer ck_\u00fc_\u00fc",
    "ck_0_0",
]


@pytest.mark.parametrize("given", WRONG_KEYS, ids=range(len(WRONG_KEYS)))
def test_a_wrong_key_is_no_key(ledger: LiveLedger, given: str) -> None:
    """Malformed and unknown keys are 401 alike."""
    answer = ledger.nobody.http.get(
        "/v1/accounts/x", headers={b"Authorization": given.encode("latin-1")}
    )
    assert expect(401, answer)["code"] == "unauthenticated"


def test_the_secret_decides(ledger: LiveLedger) -> None:
    """The right id with another secret is 401, before and after the right one was seen."""
    body = {"name": "guessed", "scopes": ["read"]}
    key = expect(201, ledger.caller.post("/v1/keys", body))["secret"]
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert ledger.holder_of(wrong).get("/v1/accounts/x").status_code == 401
    assert ledger.holder_of(key).get("/v1/accounts/x").status_code == 404
    assert ledger.holder_of(wrong).get("/v1/accounts/x").status_code == 401


def test_a_revoked_key_is_out_of_force(ledger: LiveLedger) -> None:
    """At once where it was revoked; it stays on the list and can be revoked again."""
    made = expect(201, ledger.caller.post("/v1/keys", {"name": "old", "scopes": ["read"]}))
    holder, key_id = ledger.holder_of(made["secret"]), made["key"]["key_id"]
    assert holder.get("/v1/accounts/x").status_code == 404
    revoked = expect(200, ledger.caller.http.delete(f"/v1/keys/{key_id}"))
    assert revoked["revoked_at"] is not None
    assert expect(200, ledger.caller.http.delete(f"/v1/keys/{key_id}")) == revoked
    assert holder.get("/v1/accounts/x").status_code == 401
    listed = expect(200, ledger.caller.get("/v1/keys"))["items"]
    assert revoked in listed
    assert made["secret"] not in str(listed)


def test_keys_of_others_are_out_of_reach(ledger: LiveLedger) -> None:
    """They are neither listed nor revoked; the same goes for the worker's."""
    made = expect(201, ledger.other.post("/v1/keys", {"name": "theirs", "scopes": ["read"]}))
    assert ledger.worker.key is not None
    for key_id in (made["key"]["key_id"], ledger.worker.key.split("_")[1]):
        answer = ledger.caller.http.delete(f"/v1/keys/{key_id}")
        assert expect(404, answer)["code"] == "not_found"
    assert key_id not in ledger.caller.get("/v1/keys").text
    assert ledger.holder_of(made["secret"]).get("/v1/accounts/x").status_code == 404


def test_nobody_gives_what_they_do_not_have(ledger: LiveLedger) -> None:
    """A key makes keys of its own scopes at most, and never one for work."""
    limited = expect(201, ledger.caller.post("/v1/keys", {"name": "a", "scopes": ["admin"]}))
    holder = ledger.holder_of(limited["secret"])
    for caller, scope in ((holder, "grant"), (ledger.caller, "work")):
        problem = expect(403, caller.post("/v1/keys", {"name": "b", "scopes": [scope]}))
        assert problem["needed_scope"] == scope
    expect(201, holder.post("/v1/keys", {"name": "b", "scopes": ["admin"]}))


def test_no_secret_is_stored(ledger: LiveLedger) -> None:
    """The database holds a digest of each key, and no part of its secret."""
    assert ledger.caller.key is not None
    secret = ledger.caller.key.split("_")[2]
    with ledger.database.connect() as connection:
        rows = connection.execute("SELECT k::text FROM ledger.api_keys AS k").fetchall()
    assert len(rows) >= 4
    assert not any(secret in row[0] or secret[:20] in row[0] for row in rows)
    assert secret not in ledger.process.text()
