"""Reading accounts, grants and holds as they were, over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fixtures.live import LiveLedger, expect, new_account
from tests.integration.test_api_reads import soon

pytestmark = pytest.mark.slow


class Shown:
    """An account with its grants and holds as read right after a write."""

    def __init__(self, ledger: LiveLedger, account_id: str, position: int) -> None:
        self.position = position
        self.bodies = self.read(ledger, account_id)

    @staticmethod
    def read(ledger: LiveLedger, account_id: str, **when: Any) -> dict[str, Any]:
        """All of it, now or then."""
        path = f"/v1/accounts/{account_id}"
        paths = [path, f"{path}/grants", f"{path}/holds"]
        return {it: expect(200, ledger.caller.get(it, **when)) for it in paths}


def busy_account(ledger: LiveLedger) -> tuple[str, list[Shown]]:
    """An account to which things happened, and how it looked after each."""
    account_id, shown = new_account(), []
    path, caller = f"/v1/accounts/{account_id}", ledger.caller

    def did(reply: Any) -> Any:
        shown.append(Shown(ledger, account_id, reply["position"]))
        return reply

    def post(path: str, body: Any, status: int = 200) -> Any:
        return did(expect(status, caller.post(path, body)))

    first = did(caller.grant(account_id, 100, reference="order-1"))["grant"]["grant_id"]
    debit_id = did(caller.debit(account_id, 100))["debit"]["debit_id"]
    did(caller.grant(account_id, 50, priority=10, metadata={"why": "sorry"}))
    did(caller.refund(account_id, debit_id, amount=30))
    hold = {"amount": 20, "reason": "render"}
    hold_id = post(f"{path}/holds", hold, 201)["hold"]["hold_id"]
    post(f"{path}/holds/{hold_id}/extend", {"ttl_seconds": 2_000})
    post(f"{path}/holds/{hold_id}/capture", {"amount": 5})
    claim = {"reference": "dispute", "as_of": "2030-01-01T00:00:00Z", "fraction_millis": 1000}
    post(f"{path}/grants/{first}/clawback", {**claim, "reason": "store-refund"})
    did(caller.grant(account_id, 90))
    hold_id = post(f"{path}/holds", hold, 201)["hold"]["hold_id"]
    post(f"{path}/holds/{hold_id}/release", {})
    did(caller.debit(account_id, 1))
    return account_id, shown


def test_each_position_reads_as_it_did(ledger: LiveLedger) -> None:
    """The account, its grants and its holds are exactly what was read right then."""
    account_id, shown = busy_account(ledger)
    for then in shown:
        found = Shown.read(ledger, account_id, at_position=then.position)
        assert found == then.bodies
        for grant in then.bodies[f"/v1/accounts/{account_id}/grants"]["items"]:
            one = f"/v1/accounts/{account_id}/grants/{grant['grant_id']}"
            assert expect(200, ledger.caller.get(one, at_position=then.position)) == grant
        for hold in then.bodies[f"/v1/accounts/{account_id}/holds"]["items"]:
            one = f"/v1/accounts/{account_id}/holds/{hold['hold_id']}"
            assert expect(200, ledger.caller.get(one, at_position=then.position)) == hold


def test_pages_of_the_past_have_cursors(ledger: LiveLedger) -> None:
    """A list as it was is paged like any other, and its cursor belongs to that time."""
    account_id, shown = busy_account(ledger)
    path, last = f"/v1/accounts/{account_id}/grants", shown[-1].position
    whole = expect(200, ledger.caller.get(path, at_position=last))["items"]
    first = expect(200, ledger.caller.get(path, at_position=last, limit=1))
    cursor = first["next_cursor"]
    second = expect(200, ledger.caller.get(path, at_position=last, limit=1, cursor=cursor))
    assert first["items"] + second["items"] == whole[:2]
    wrong = ledger.caller.get(path, at_position=last - 1, limit=1, cursor=cursor)
    assert expect(400, wrong)["code"] == "cursor_invalid"


def test_the_balance_is_that_of_the_instant(ledger: LiveLedger) -> None:
    """Expiry and the start of a grant count as they did at the time asked for."""
    account_id = new_account()
    path = f"/v1/accounts/{account_id}"
    ledger.caller.grant(account_id, 10)
    ledger.caller.grant(account_id, 5, expires_at=soon(0.4))
    made = ledger.caller.grant(account_id, 3, effective_at=soon(0.4))
    time.sleep(0.6)
    at = made["recorded_at"]
    then = expect(200, ledger.caller.get(path, at=at))["balance"]
    assert (then["available"], then["pending_expiry"], then["posted"]) == (15, 0, 18)
    later = datetime.fromisoformat(at) + timedelta(seconds=0.5)
    late = expect(200, ledger.caller.get(path, at=later.isoformat()))["balance"]
    assert (late["available"], late["pending_expiry"], late["posted"]) == (13, 5, 18)
    before = expect(200, ledger.caller.get(path, at_position=made["position"] - 1))["balance"]
    assert before["posted"] == 15


def test_there_is_no_account_before_it_was_opened(ledger: LiveLedger) -> None:
    """404, as for one that never was; so for its grants and holds."""
    account_id = new_account()
    made = ledger.caller.grant(account_id, 10)
    grant_id = made["grant"]["grant_id"]
    opened = datetime.fromisoformat(made["recorded_at"])
    early: list[dict[str, Any]] = [
        {"at_position": made["position"] - 2},
        {"at_position": 0},
        {"at": (opened - timedelta(microseconds=1)).isoformat()},
        {"at": "0001-01-01T00:00:00Z"},
    ]
    path = f"/v1/accounts/{account_id}"
    for when in early:
        for missing in (path, f"{path}/grants", f"{path}/holds"):
            assert expect(404, ledger.caller.get(missing, **when))["code"] == "account_not_found"
        answer = ledger.caller.get(f"{path}/grants/{grant_id}", **when)
        assert expect(404, answer)["code"] == "grant_not_found"
    later = ledger.caller.grant(account_id, 20)
    answer = ledger.caller.get(
        f"{path}/grants/{later['grant']['grant_id']}", at_position=made["position"]
    )
    assert expect(404, answer)["code"] == "grant_not_found"


def test_a_time_that_makes_no_sense_is_refused(ledger: LiveLedger) -> None:
    """The future, two points at once, and what is no time at all."""
    account_id = new_account()
    position = ledger.caller.grant(account_id, 10)["position"]
    path = f"/v1/accounts/{account_id}"
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wrong: list[dict[str, Any]] = [
        {"at": future},
        {"at": "2020-01-01T00:00:00Z", "at_position": position},
        {"at": "yesterday"},
        {"at": "2020-01-01T00:00:00"},
        {"at": "0001-01-01T00:00:00+14:00"},
        {"at_position": -1},
    ]
    for when in wrong:
        for read in (path, f"{path}/grants", f"{path}/holds"):
            assert expect(400, ledger.caller.get(read, **when))["code"] == "validation_failed"
    ahead = ledger.caller.get(path, at_position=position + 10_000_000)
    assert expect(503, ahead)["code"] == "not_caught_up"
    assert expect(200, ledger.caller.get(path, at_position=position)) == expect(
        200, ledger.caller.get(path, min_position=position)
    )


def test_who_has_the_newest_body_gets_no_other(ledger: LiveLedger) -> None:
    """Single reads carry a strong tag that changes with the body and with nothing else."""
    account_id, _ = busy_account(ledger)
    path = f"/v1/accounts/{account_id}"
    debit = ledger.caller.debit(account_id, 2)["debit"]
    refund = ledger.caller.refund(account_id, debit["debit_id"], amount=1)["refund"]
    hold = expect(200, ledger.caller.get(f"{path}/holds"))["items"][0]
    funder = debit["lots"][0]["grant_id"]
    paths = [
        f"{path}/grants/{funder}",
        f"{path}/debits/{debit['debit_id']}",
        f"{path}/refunds/{refund['refund_id']}",
        f"{path}/holds/{hold['hold_id']}",
    ]
    tags = {it: ledger.caller.get(it).headers["etag"] for it in paths}
    for read, tag in tags.items():
        known = ledger.caller.http.get(read, headers={"If-None-Match": tag})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    ledger.caller.refund(account_id, debit["debit_id"])
    for read in paths[:2]:
        known = ledger.caller.http.get(read, headers={"If-None-Match": tags[read]})
        assert known.headers["etag"] != tags[read]
        expect(200, known)
