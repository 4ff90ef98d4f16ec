"""Holes 7 to 9: who may do what, and with whose credits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fixtures.live import Caller, LiveLedger, expect, new_account
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


@pytest.fixture
def spender(ledger: LiveLedger) -> Iterator[Caller]:
    """A key that may spend and read, as an app backend would have it."""
    body = {"name": "app backend", "scopes": ["spend", "read"]}
    made = Caller(ledger.url, expect(201, ledger.caller.post("/v1/keys", body))["secret"])
    yield made
    made.http.close()


def funded(ledger: LiveLedger) -> tuple[str, str]:
    """An account with 70 of 100 credits left; with the debit."""
    account_id = new_account()
    ledger.caller.grant(account_id, 100)
    return account_id, ledger.caller.debit(account_id, 30)["debit"]["debit_id"]


def writes(account_id: str, debit_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything that moves credits, or may lead to it."""
    path = f"/v1/accounts/{account_id}"
    order = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    return [
        (f"{path}/grants", {"amount": 1_000, "source": "promo"}),
        (f"{path}/debits", {"amount": 1, "reason": "mine"}),
        (f"{path}/debits/{debit_id}/refunds", {"reason": "mine"}),
        ("/v1/accounts", {"account_id": f"{account_id}-2", "credit_limit": 1_000}),
        ("/v1/keys", {"name": "mine", "scopes": ["grant"]}),
        ("/v1/generations", order),
    ]


def test_hole_07_nobody_makes_credits_without_a_key(ledger: LiveLedger) -> None:
    """Procedures that add, take and generate could be called by anyone who had the public key."""
    account_id, debit_id = funded(ledger)
    for path, body in writes(account_id, debit_id):
        assert expect(401, ledger.nobody.post(path, body))["code"] == "unauthenticated"
        assert expect(403, ledger.reader.post(path, body))["code"] == "forbidden"
        assert expect(403, ledger.worker.post(path, body))["code"] == "forbidden"
    assert ledger.caller.balance(account_id)["posted"] == 70


@pytest.mark.parametrize("amount", [-5, 0, 10**12 + 1, 1.5, "5", True, None])
def test_hole_07_a_spend_never_adds(ledger: LiveLedger, amount: Any) -> None:
    """A negative spend added credits."""
    account_id, debit_id = funded(ledger)
    debits = f"/v1/accounts/{account_id}/debits"
    spend = ledger.caller.post(debits, {"amount": amount, "reason": "odd"})
    assert expect(400, spend)["code"] == "validation_failed"
    if amount is not None:  # null stands for all that is left
        refund = ledger.caller.post(
            f"{debits}/{debit_id}/refunds", {"amount": amount, "reason": "odd"}
        )
        assert expect(400, refund)["code"] == "validation_failed"
    assert ledger.caller.balance(account_id)["posted"] == 70


def test_hole_07_the_database_has_no_back_door(database: Database) -> None:
    """Database procedures ran with their owner's rights, for everyone."""
    query = """
        SELECT p.proname, p.prosecdef, has_function_privilege('stranger', p.oid, 'EXECUTE')
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = 'ledger'"""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("CREATE ROLE stranger")  # undone with the transaction
        functions = connection.execute(query).fetchall()
        connection.rollback()
    assert functions
    assert [name for name, as_owner, public in functions if as_owner or public] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"balance": {"posted": 10**6}},
        {"posted": 10**6},
        {"credit_limit": 5, "posted": 10**6},
        {"status": "active"},
        {"tier": "pro"},
        {"is_admin": True},
        {"version": 1},
    ],
)
def test_hole_08_a_balance_is_nobodys_to_write(ledger: LiveLedger, fields: dict[str, Any]) -> None:
    """A user could set their own balance, tier and admin flag: rows were guarded, columns not."""
    account_id, _ = funded(ledger)
    path = f"/v1/accounts/{account_id}"
    before = expect(200, ledger.caller.get(path))
    for method in ("PATCH", "PUT", "POST"):
        answer = ledger.caller.http.request(method, path, json=fields)
        assert answer.status_code == (400 if method == "PATCH" else 405), answer.text
    assert expect(200, ledger.caller.get(path)) == before


def test_hole_08_who_may_spend_may_not_give(ledger: LiveLedger, spender: Caller) -> None:
    """Whoever could spend could also change what there was to spend."""
    account_id, debit_id = funded(ledger)
    path = f"/v1/accounts/{account_id}"
    allowed = {f"{path}/debits", "/v1/generations"}
    for address, body in writes(account_id, debit_id):
        answer = spender.post(address, body)
        assert answer.is_success == (address in allowed), answer.text
    limit = spender.http.patch(path, json={"credit_limit": 1_000})
    assert expect(403, limit)["code"] == "forbidden"
    balance = ledger.caller.balance(account_id)
    assert (balance["posted"], balance["credit_limit"]) == (49, 0)


def test_hole_08_the_serving_role_cannot_rewrite_the_past(database: Database) -> None:
    """The role that served requests could write whatever it liked, history included."""
    changes = (
        "UPDATE ledger.events SET state = ''",
        "DELETE FROM ledger.events",
        "TRUNCATE ledger.events",
        "DELETE FROM ledger.heads",
        "ALTER TABLE ledger.events DISABLE TRIGGER ALL",
        "DROP SCHEMA ledger CASCADE",
    )
    for change in changes:
        with (
            database.connect() as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(change.encode())


def test_hole_09_the_key_says_who_asks_and_nothing_else_does(ledger: LiveLedger) -> None:
    """Whose credits were spent was whatever id the request named: any account could be emptied."""
    account_id, debit_id = funded(ledger)
    order = writes(account_id, debit_id)[-1][1]
    generation_id = expect(202, ledger.caller.post("/v1/generations", order))["generation"][
        "generation_id"
    ]
    path = f"/v1/accounts/{account_id}"
    parts = ("", "/entries", "/grants", "/debits", f"/debits/{debit_id}", "/refunds")
    foreign = [path + part for part in parts] + [f"/v1/generations/{generation_id}"]
    for address in foreign:
        assert expect(404, ledger.other.get(address))["code"].endswith("_not_found")
    for address, body in [*writes(account_id, debit_id)[1:3], ("/v1/generations", order)]:
        assert expect(404, ledger.other.post(address, body))["code"] == "account_not_found"
    limit = ledger.other.http.patch(path, json={"credit_limit": 9})
    assert expect(404, limit)["code"] == "account_not_found"
    page = ledger.other.get("/v1/generations", account_id=account_id)
    assert expect(404, page)["code"] == "account_not_found"
    assert ledger.caller.balance(account_id)["posted"] == 50


@pytest.mark.parametrize("field", ["tenant", "user_id", "owner", "actor"])
def test_hole_09_nobody_speaks_for_another(ledger: LiveLedger, field: str) -> None:
    """The caller's identity was a field of the body."""
    account_id, _ = funded(ledger)
    body = {"amount": 1, "reason": "theirs", field: "demo"}
    path = f"/v1/accounts/{account_id}/debits"
    assert expect(400, ledger.other.post(path, body))["code"] == "validation_failed"
    headers = {f"X-{field.replace('_', '-')}": "demo"}
    named = ledger.other.post(path, {"amount": 1, "reason": "theirs"}, **headers)
    assert expect(404, named)["code"] == "account_not_found"
    assert ledger.caller.balance(account_id)["posted"] == 70


def test_hole_09_the_same_name_is_another_account_elsewhere(ledger: LiveLedger) -> None:
    """An account's name was all that it took to own it."""
    account_id, _ = funded(ledger)
    ledger.other.grant(account_id, 5)
    assert ledger.other.balance(account_id)["posted"] == 5
    assert ledger.caller.balance(account_id)["posted"] == 70
