"""The trail of a reference, and where a grant's credits went, over HTTP."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from ledger_service.projections.follower import Follower
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.integration.test_api_reads import pages

pytestmark = pytest.mark.slow


def follow(ledger: LiveLedger) -> None:
    """Let the projections catch up."""
    follower = Follower(ledger.database.url)
    follower.catch_up()
    follower.close()


@pytest.mark.parametrize("reference", ["order-77", "a/b//c/", "/", 'ü \\ "quoted" ?#%&+;', " "])
def test_everything_that_bears_a_reference_is_found(ledger: LiveLedger, reference: str) -> None:
    """Across accounts, newest first, paged; at once, and just the same when it is projected."""
    one, two = new_account(), new_account()
    reference = f"{reference}{one}{reference}"
    path = f"/v1/references/{quote(reference, safe='')}"
    follow(ledger)  # so that what others did before is no part of what is looked through
    assert expect(200, ledger.caller.get(path)) == {"items": [], "next_cursor": None}
    granted = ledger.caller.grant(one, 50, reference=reference)
    debited = ledger.caller.debit(one, 5, reference=reference)
    ledger.caller.debit(one, 6, reference=f"{reference}2")
    ledger.caller.grant(two, 50)
    ledger.other.grant(one, 99, reference=reference)
    hold = {"amount": 7, "reason": "render", "reference": reference}
    held = expect(201, ledger.caller.post(f"/v1/accounts/{two}/holds", hold))
    follow(ledger)
    captured = expect(
        200,
        ledger.caller.post(f"/v1/accounts/{two}/holds/{held['hold']['hold_id']}/capture", {}),
    )
    claim = {"reference": reference, "as_of": "2030-01-01T00:00:00Z", "amount": 4, "reason": "x"}
    grant_id = granted["grant"]["grant_id"]
    clawed = expect(
        200, ledger.caller.post(f"/v1/accounts/{one}/grants/{grant_id}/clawback", claim)
    )
    expected = [
        (one, "clawback", grant_id, 4, clawed["recorded_at"]),
        (two, "debit", captured["debit"]["debit_id"], 7, captured["recorded_at"]),
        (two, "hold", held["hold"]["hold_id"], 7, held["recorded_at"]),
        (one, "debit", debited["debit"]["debit_id"], 5, debited["recorded_at"]),
        (one, "grant", grant_id, 50, granted["recorded_at"]),
    ]
    for _ in range(2):
        found = pages(ledger.caller, path, limit=2)
        names = ("account_id", "type", "id", "amount", "recorded_at")
        assert [tuple(it[name] for name in names) for it in found] == expected
        positions = [it["position"] for it in found]
        assert positions == sorted(positions, reverse=True)
        follow(ledger)
    assert len(expect(200, ledger.other.get(path))["items"]) == 1


def test_schedules_and_what_they_grant_bear_their_reference(ledger: LiveLedger) -> None:
    """Each schedule that was set, and each grant that it made."""
    account_id = new_account()
    ledger.caller.grant(account_id, 1)
    reference = f"plan-{account_id}"
    schedules: list[dict[str, Any]] = [
        {
            "schedule_id": f"s{n}",
            "amount": 10 + n,
            "unit": "month",
            "starts_at": "2026-01-01T00:00:00Z",
            "ends_at": "2026-02-01T00:00:00Z",
            "reference": reference,
        }
        for n in range(2)
    ]
    path = f"/v1/accounts/{account_id}/schedules"
    expect(200, ledger.caller.http.put(path, json={"schedules": schedules}))
    for _ in range(2):
        found = pages(ledger.caller, f"/v1/references/{reference}", limit=1)
        assert sorted((it["type"], it["amount"]) for it in found) == [
            ("grant", 10),
            ("grant", 11),
            ("schedule", 10),
            ("schedule", 11),
        ]
        follow(ledger)


def test_a_reference_cursor_belongs_to_its_reference(ledger: LiveLedger) -> None:
    """With another reference, or invented, it is refused."""
    account_id = new_account()
    for _ in range(2):
        ledger.caller.grant(account_id, 1, reference=f"a-{account_id}")
    path = f"/v1/references/a-{account_id}"
    cursor = expect(200, ledger.caller.get(path, limit=1))["next_cursor"]
    for wrong, given in ((f"{path}x", cursor), (path, "x")):
        answer = ledger.caller.get(wrong, cursor=given)
        assert expect(400, answer)["code"] == "cursor_invalid"
    assert expect(200, ledger.caller.get("/v1/references/" + "x" * 201))["items"] == []
    assert expect(200, ledger.caller.get("/v1/references/%00"))["items"] == []


def test_a_grant_tells_what_it_paid_for(ledger: LiveLedger) -> None:
    """Debits and captures, newest first, projected or not; and from the other side its lots."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    first = ledger.caller.grant(account_id, 10, priority=1)["grant"]["grant_id"]
    second = ledger.caller.grant(account_id, 50, priority=2)["grant"]["grant_id"]
    debits = [ledger.caller.debit(account_id, amount)["debit"] for amount in (4, 9)]
    follow(ledger)
    hold = {"amount": 20, "reason": "render"}
    held = expect(201, ledger.caller.post(f"{path}/holds", hold))["hold"]
    captured = expect(200, ledger.caller.post(f"{path}/holds/{held['hold_id']}/capture", {}))
    debits.append(captured["debit"])
    for grant_id in (first, second):
        expected = [
            {"debit_id": debit["debit_id"], "amount": lot["amount"], "at": debit["created_at"]}
            for debit in reversed(debits)
            for lot in debit["lots"]
            if lot["grant_id"] == grant_id
        ]
        assert len(expected) == 2
        assert pages(ledger.caller, f"{path}/grants/{grant_id}/debits", limit=1) == expected
    missing = ledger.caller.get(f"{path}/grants/{first[:-1]}/debits")
    assert expect(404, missing)["code"] == "grant_not_found"


def test_a_grant_tells_where_its_credits_live_on(ledger: LiveLedger) -> None:
    """Transfers name the grant on the other account, which names this one as its origin."""
    one, two = new_account(), new_account()
    grant_id = ledger.caller.grant(one, 30)["grant"]["grant_id"]
    ledger.caller.grant(two, 1)
    for amount in (5, 6):
        body = {"from_account_id": one, "to_account_id": two, "amount": amount, "reason": "gift"}
        expect(201, ledger.caller.post("/v1/transfers", body))
    derived = pages(ledger.caller, f"/v1/accounts/{one}/grants/{grant_id}/derived", limit=1)
    assert [(it["account_id"], it["kind"], it["amount"]) for it in derived] == [
        (two, "transfer", 6),
        (two, "transfer", 5),
    ]
    for it in derived:
        found = expect(200, ledger.caller.get(f"/v1/accounts/{two}/grants/{it['grant_id']}"))
        assert found["origin"] == {"account_id": one, "grant_id": grant_id}
