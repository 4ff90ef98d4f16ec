"""Reads: lists and their cursors, single things by id, freshness, and the log."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fixtures.live import Caller, LiveLedger, expect, new_account

pytestmark = pytest.mark.slow


def pages(caller: Caller, path: str, **query: Any) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = expect(200, caller.get(path, **query, **cursor))
        assert len(page["items"]) <= query.get("limit", 50)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = {"cursor": page["next_cursor"]}


def soon(seconds: float) -> str:
    """An instant of the near future."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_lists_are_newest_first_and_complete(ledger: LiveLedger) -> None:
    """Pages of any size add up to everything, once, the newest first."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    grants = [ledger.caller.grant(account_id, 10 + n)["grant"]["grant_id"] for n in range(7)]
    debits = [ledger.caller.debit(account_id, 1 + n)["debit"]["debit_id"] for n in range(7)]
    refunds = [ledger.caller.refund(account_id, it)["refund"]["refund_id"] for it in debits]
    for limit in (1, 3, 7, 50):
        for name, ids in (("grants", grants), ("debits", debits), ("refunds", refunds)):
            found = pages(ledger.caller, f"{path}/{name}", limit=limit)
            assert [item[f"{name[:-1]}_id"] for item in found] == ids[::-1]
    entries = pages(ledger.caller, f"{path}/entries", limit=4)
    assert [entry["version"] for entry in entries] == list(range(22, 0, -1))


def test_a_thing_is_read_by_its_id(ledger: LiveLedger) -> None:
    """Each list item is what the read of its id says, with what has happened since."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    ledger.caller.grant(account_id, 50, metadata={"n": 1}, currency="EUR", reference="r-1")
    debit_id = ledger.caller.debit(account_id, 30)["debit"]["debit_id"]
    ledger.caller.refund(account_id, debit_id, amount=10)
    for name in ("grants", "debits", "refunds"):
        (item,) = expect(200, ledger.caller.get(f"{path}/{name}"))["items"]
        item_id = item[f"{name[:-1]}_id"]
        assert expect(200, ledger.caller.get(f"{path}/{name}/{item_id}")) == item
    (grant,) = expect(200, ledger.caller.get(f"{path}/grants"))["items"]
    assert (grant["remaining"], grant["spent"], grant["metadata"]) == (30, 20, {"n": 1})
    (debit,) = expect(200, ledger.caller.get(f"{path}/debits"))["items"]
    assert debit["refunded"] == 10


def test_an_id_leads_nowhere_else(ledger: LiveLedger) -> None:
    """An id of another account, another kind, or a made-up one is a missing thing."""
    account_id, other_id = new_account(), new_account()
    ledger.caller.grant(account_id, 10)
    ledger.caller.grant(other_id, 10)
    debit_id = ledger.caller.debit(account_id, 5)["debit"]["debit_id"]
    wrong = [debit_id.replace("dbt", "grt"), debit_id[:-1], debit_id.upper(), "dbt_0", "%00", "x"]
    shifted = debit_id[:5] + ("1" if debit_id[5] == "0" else "0") + debit_id[6:]  # another time
    for account, sought in [(other_id, debit_id), *((account_id, it) for it in (*wrong, shifted))]:
        for name in ("debits", "grants", "refunds"):
            if (account, name, sought) == (account_id, "debits", debit_id):
                continue
            answer = ledger.caller.get(f"/v1/accounts/{account}/{name}/{sought}")
            assert expect(404, answer)["code"] == f"{name[:-1]}_not_found"
    path = f"/v1/accounts/{other_id}/debits/{debit_id}/refunds"
    problem = expect(404, ledger.caller.post(path, {"reason": "theft"}))
    assert problem["code"] == "debit_not_found"


def test_a_list_of_no_account_is_missing(ledger: LiveLedger) -> None:
    """An account without a grant has an empty list; no account has none."""
    opened = new_account()
    expect(201, ledger.caller.post("/v1/accounts", {"account_id": opened}))
    for name in ("grants", "debits", "refunds", "entries"):
        missing = ledger.caller.get(f"/v1/accounts/{new_account()}/{name}")
        assert expect(404, missing)["code"] == "account_not_found"
    for name in ("grants", "debits", "refunds"):
        page = expect(200, ledger.caller.get(f"/v1/accounts/{opened}/{name}"))
        assert page == {"items": [], "next_cursor": None}


def test_a_cursor_belongs_to_its_list(ledger: LiveLedger) -> None:
    """With other filters, on another account or list, changed or invented, it is refused."""
    account_id, other_id = new_account(), new_account()
    for owner in (account_id, other_id):
        for _ in range(3):
            ledger.caller.grant(owner, 5)
    path = f"/v1/accounts/{account_id}"
    cursor = expect(200, ledger.caller.get(f"{path}/entries", limit=1))["next_cursor"]
    expect(200, ledger.caller.get(f"{path}/entries", limit=2, cursor=cursor))
    for wrong, query in [
        (f"{path}/entries", {"cursor": cursor, "type": "credits_granted"}),
        (f"{path}/grants", {"cursor": cursor}),
        (f"/v1/accounts/{other_id}/entries", {"cursor": cursor}),
        (f"{path}/entries", {"cursor": cursor[:-2] + "AA"}),
        (f"{path}/entries", {"cursor": "x"}),
        (f"{path}/entries", {"cursor": "ü"}),
    ]:
        assert expect(400, ledger.caller.get(wrong, **query))["code"] == "cursor_invalid"


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", "", "1_0", "9" * 30])
def test_a_page_has_a_sensible_size(ledger: LiveLedger, limit: str) -> None:
    """1 to 200, written as an integer."""
    answer = ledger.caller.get(f"/v1/accounts/{new_account()}/grants", limit=limit)
    assert expect(400, answer)["errors"][0]["pointer"] == "?limit"


def test_a_statement_adds_up(ledger: LiveLedger) -> None:
    """Every entry moves the running balance by its amount in its direction."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    ledger.caller.grant(account_id, 100, reference="order-1")
    debit_id = ledger.caller.debit(account_id, 60)["debit"]["debit_id"]
    ledger.caller.refund(account_id, debit_id, amount=25)
    ledger.caller.grant(account_id, 7, expires_at=soon(0.3))
    time.sleep(0.4)
    ledger.caller.debit(account_id, 1)
    entries = pages(ledger.caller, f"{path}/entries")[::-1]
    posted = 0
    sign = {"credit": 1, "debit": -1, "none": 0}
    for entry in entries:
        posted += sign[entry["direction"]] * entry["amount"]
        assert (entry["posted_after"], entry["actor"].startswith("key:")) == (posted, True)
    assert [entry["type"] for entry in entries] == [
        "account_opened",
        "credits_granted",
        "credits_debited",
        "debit_refunded",
        "credits_granted",
        "credits_expired",
        "credits_debited",
    ]
    assert posted == ledger.caller.balance(account_id)["posted"] == 64


def test_a_statement_is_filtered(ledger: LiveLedger) -> None:
    """By type, time, reference and actor; a filter that fits nothing gives nothing."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}/entries"
    ledger.caller.grant(account_id, 100, reference="order-1")
    later = ledger.caller.grant(account_id, 50, reference="order-2")
    ledger.caller.debit(account_id, 5, reference="order-1")

    def versions(**query: str) -> list[int]:
        return [entry["version"] for entry in pages(ledger.caller, path, **query)]

    assert versions(type="credits_granted") == [3, 2]
    assert versions(type="nothing_of_ours") == []
    assert versions(reference="order-1") == [4, 2]
    assert versions(reference="order-1", type="credits_debited") == [4]
    assert versions(**{"from": later["recorded_at"]}) == [4, 3]
    assert versions(to=later["recorded_at"]) == [2, 1]
    assert versions(actor="key:nobody") == []
    actor = expect(200, ledger.caller.get(path))["items"][0]["actor"]
    assert versions(actor=actor) == [4, 3, 2, 1]


def test_a_read_is_as_fresh_as_asked(ledger: LiveLedger) -> None:
    """With `min_position` of a write the write is seen; a position far ahead is not waited for."""
    account_id = new_account()
    position = ledger.caller.grant(account_id, 5)["position"]
    path = f"/v1/accounts/{account_id}"
    assert expect(200, ledger.caller.get(path, min_position=position))["position"] == position
    started = time.monotonic()
    answer = ledger.caller.get(path, min_position=position + 10_000_000)
    assert expect(503, answer)["code"] == "not_caught_up"
    assert answer.headers["retry-after"]
    assert time.monotonic() - started < 5


def test_expiry_counts_from_its_instant(ledger: LiveLedger) -> None:
    """Before anything is booked: not available, pending, and nothing remains of the grant."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    ledger.caller.grant(account_id, 40)
    grant_id = ledger.caller.grant(account_id, 10, expires_at=soon(0.5))["grant"]["grant_id"]
    before = ledger.caller.get(path)
    assert before.json()["balance"]["available"] == 50
    tag = {"If-None-Match": before.headers["etag"]}
    assert ledger.caller.http.get(path, headers=tag).status_code == 304
    time.sleep(0.6)
    after = ledger.caller.http.get(path, headers=tag)
    balance = expect(200, after)["balance"]
    assert (balance["available"], balance["pending_expiry"], balance["posted"]) == (40, 10, 50)
    grant = expect(200, ledger.caller.get(f"{path}/grants/{grant_id}"))
    assert grant["remaining"] == 0


def test_a_grant_counts_from_its_start(ledger: LiveLedger) -> None:
    """Until `effective_at` the credits are posted but not available."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10, effective_at=soon(0.4))
    balance = ledger.caller.balance(account_id)
    assert (balance["posted"], balance["available"]) == (10, 0)
    time.sleep(0.5)
    assert ledger.caller.balance(account_id)["available"] == 10


def test_an_account_with_many_lots_reads_right(ledger: LiveLedger) -> None:
    """Also when lots beyond those at hand start and expire."""
    account_id = new_account()
    for n in range(45):
        ledger.caller.grant(account_id, 10, priority=n % 100)
    ledger.caller.grant(account_id, 7, priority=100, expires_at=soon(0.8))
    ledger.caller.grant(account_id, 5, priority=100, effective_at=soon(0.8))
    balance = ledger.caller.balance(account_id)
    assert (balance["posted"], balance["available"]) == (462, 457)
    time.sleep(1)
    balance = ledger.caller.balance(account_id)
    assert (balance["available"], balance["pending_expiry"]) == (455, 7)
    found = pages(ledger.caller, f"/v1/accounts/{account_id}/grants", limit=20)
    assert sum(grant["remaining"] for grant in found) == 455
    ledger.caller.debit(account_id, 400)
    found = pages(ledger.caller, f"/v1/accounts/{account_id}/grants", limit=20)
    assert sum(grant["remaining"] for grant in found) == 55


def followed(caller: Caller, after: int) -> list[Any]:
    """The caller's events after a position, read to the head."""
    found: list[Any] = []
    while True:
        reply = expect(200, caller.get("/v1/events", after=after, limit=3))
        found += reply["items"]
        after = reply["next_after"]
        if after >= reply["head"]:
            return found


def test_a_follower_sees_its_tenant_alone(ledger: LiveLedger) -> None:
    """Every event of the tenant in order, none of another's, as JSON and as a stream."""
    account_id = new_account()
    start = ledger.caller.grant(account_id, 5)["position"]
    ledger.other.grant(account_id, 6)
    reply = ledger.caller.debit(account_id, 2, reference="r")
    events = followed(ledger.caller, start)
    mine = [event for event in events if event["stream"] == f"demo/{account_id}"]
    assert [event["topic"] for event in mine] == ["credits_debited.v1"]
    assert mine[0]["position"] == reply["position"]
    assert mine[0]["data"]["debit_id"] == reply["debit"]["debit_id"]
    assert mine[0]["idempotency_key"]
    assert mine[0]["last_of_command"] is True
    assert all(event["stream"].startswith("demo/") for event in events)
    positions = [event["position"] for event in events]
    assert positions == sorted(set(positions))
    headers = {"Accept": "application/x-ndjson"}
    stream = ledger.caller.http.get("/v1/events", params={"after": start}, headers=headers)
    assert stream.headers["content-type"] == "application/x-ndjson"
    streamed = [json.loads(line) for line in stream.text.splitlines()]
    assert streamed[: len(events)] == events


def test_a_follower_waits_for_news(ledger: LiveLedger) -> None:
    """With `wait_seconds` the answer comes with the next event, or empty when the time is over."""
    account_id = new_account()
    position = ledger.caller.grant(account_id, 5)["position"]
    head = expect(200, ledger.caller.get("/v1/events", after=position))["head"]
    timer = threading.Timer(0.5, ledger.other.grant, (account_id, 5))
    timer.start()
    started = time.monotonic()
    reply = expect(200, ledger.caller.get("/v1/events", after=head, wait_seconds=8))
    assert 0.3 < time.monotonic() - started < 6
    assert reply["next_after"] > head
    timer.join()
    empty = expect(200, ledger.caller.get("/v1/events", after=10**9, wait_seconds=1))
    assert (empty["items"], empty["next_after"]) == ([], 10**9)
