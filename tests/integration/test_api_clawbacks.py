"""Credits taken back, voided, put right and forgiven, over HTTP."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fixtures.books import Book
from tests.fixtures.live import LiveLedger, expect

pytestmark = pytest.mark.slow

FREE_TEXT = "the store says: refunded"
START = datetime(2026, 1, 1, tzinfo=UTC)


def parts(grant: Any) -> tuple[int, ...]:
    """Target, and what became of it: taken, absorbed, owed, repaid, forwarded."""
    clawback = grant["clawback"]
    names = ("target", "taken", "absorbed", "owed", "repaid", "forwarded")
    return tuple(clawback[name] for name in names)


def test_a_grant_tells_what_was_clawed_back(ledger: LiveLedger) -> None:
    """The answer, the read and the list agree; the answer has the grant's words, not the
    clawback's, and is replayed byte for byte."""
    book = Book(ledger.caller)
    grant_id = book.grant(100, metadata={"why": "ü"}, reference="order-1")
    assert book.get(f"/grants/{grant_id}")["clawback"] is None
    book.debit(70)
    path = f"{book.path}/grants/{grant_id}/clawback"
    body = {
        "reference": "cb-1",
        "as_of": START.isoformat(),
        "fraction_millis": 505,
        "reason": FREE_TEXT,
    }
    first = book.caller.post(path, body, key="cb")
    grant = expect(200, first)["grant"]
    assert parts(grant) == (50, 30, 0, 20, 0, 0)
    assert (grant["metadata"], grant["reference"]) == ({"why": "ü"}, "order-1")
    assert first.json()["account"]["balance"]["debt"] == 20
    assert book.get(f"/grants/{grant_id}") == grant
    assert book.get("/grants")["items"] == [grant]
    book.grant(5)
    assert book.caller.post(path, body, key="cb").content == first.content
    assert book.caller.get(f"{book.path}/commands/cb").content == first.content


def test_one_of_amount_and_fraction_is_given(ledger: LiveLedger) -> None:
    """Both, none, too much, or what is no such number: 400, and nothing is claimed."""
    book = Book(ledger.caller, 100)
    path = f"/grants/{book.first_grant_id}/clawback"
    base = {"reference": "r", "as_of": START.isoformat(), "reason": "x"}
    wrong: list[dict[str, Any]] = [
        {},
        {"amount": 1, "fraction_millis": 1},
        {"amount": 101},
        {"amount": -1},
        {"amount": 1.0},
        {"fraction_millis": 1001},
        {"fraction_millis": -1},
        {"amount": 1, "as_of": "2026-01-01T00:00:00"},
        {"amount": 1, "as_of": "0001-01-01T00:00:00+14:00"},
        {"amount": 1, "reference": ""},
    ]
    for fields in wrong:
        assert book.post(path, base | fields, 400)["code"] == "validation_failed"
    assert book.get(f"/grants/{book.first_grant_id}")["clawback"] is None


def test_claims_may_come_in_any_order_and_any_number_of_times(ledger: LiveLedger) -> None:
    """The newest claim of each reference counts, wherever it stands in the order of arrival."""
    claims = [("a", 1, 80), ("a", 2, 30), ("b", 1, 40)]
    ends = set()
    for order in itertools.permutations(claims):
        book = Book(ledger.caller, 100)
        book.debit(50)
        for reference, hour, amount in (*order, order[0]):
            book.claw_back(
                book.first_grant_id,
                reference=reference,
                as_of=(START + timedelta(hours=hour)).isoformat(),
                amount=amount,
            )
        grant = book.get(f"/grants/{book.first_grant_id}")
        ends.add((parts(grant), book.figures("posted")["posted"]))
    assert ends == {((70, 50, 0, 20, 0, 0), -20)}


def test_a_reversal_gives_back_what_was_taken(ledger: LiveLedger) -> None:
    """A target of 0 undoes all of it; what debt had been repaid comes back as credits."""
    book = Book(ledger.caller, 100)
    book.debit(60)
    book.claw_back(book.first_grant_id, fraction_millis=1000)
    book.grant(60)
    assert book.figures("posted", "debt") == {"posted": 0, "debt": 0}
    grant = book.claw_back(book.first_grant_id, amount=0)
    assert parts(grant) == (0, 0, 0, 0, 0, 0)
    assert book.figures("posted", "available") == {"posted": 100, "available": 100}
    newest = book.get("/grants")["items"][0]
    assert (newest["kind"], newest["amount"], newest["origin"]) == ("reinstated", 60, None)


def test_only_what_came_from_outside_is_clawed_back(ledger: LiveLedger) -> None:
    """A derived grant names the account and the grant that it came from."""
    giver, taker = Book(ledger.caller, 100), Book(ledger.caller, 1)
    transfer = {
        "from_account_id": giver.account_id,
        "to_account_id": taker.account_id,
        "amount": 40,
        "reason": "x",
    }
    expect(201, ledger.caller.post("/v1/transfers", transfer))
    derived = taker.get("/grants")["items"][0]
    origin = {"account_id": giver.account_id, "grant_id": giver.first_grant_id}
    assert (derived["kind"], derived["origin"]) == ("transfer", origin)
    body = {"reference": "r", "as_of": START.isoformat(), "amount": 1, "reason": "x"}
    problem = taker.post(f"/grants/{derived['grant_id']}/clawback", body, 409)
    assert (problem["code"], problem["origin"]) == ("grant_derived", origin)
    voided = taker.post(f"/grants/{derived['grant_id']}/void", {"reason": "x"})["grant"]
    assert (voided["origin"], voided["voided"]) == (origin, True)


def test_a_void_grant_is_spent_no_more(ledger: LiveLedger) -> None:
    """Its free credits end; held ones can still be captured; voiding again moves nothing."""
    book = Book(ledger.caller)
    grant_id = book.grant(100, metadata={"n": 1})
    debit_id, hold_id = book.debit(30), book.hold(20)
    reply = book.caller.post(f"{book.path}/grants/{grant_id}/void", {"reason": "oops"}, key="v")
    grant = expect(200, reply)["grant"]
    shown = (grant["voided"], grant["remaining"], grant["held"], grant["metadata"])
    assert shown == (True, 20, 20, {"n": 1})
    assert book.get(f"/grants/{grant_id}") == grant
    assert book.figures("posted", "available") == {"posted": 20, "available": 0}
    book.post(f"/grants/{grant_id}/void", {"reason": "again"})
    assert book.figures("posted") == {"posted": 20}
    book.post(f"/holds/{hold_id}/capture", {})
    assert book.figures("posted", "held") == {"posted": 0, "held": 0}
    book.caller.refund(book.account_id, debit_id)
    grace = book.get("/grants")["items"][0]
    assert (grace["kind"], grace["remaining"]) == ("grace", 30)
    assert grace["origin"] == {"account_id": book.account_id, "grant_id": grant_id}
    again = book.caller.post(f"{book.path}/grants/{grant_id}/void", {"reason": "oops"}, key="v")
    assert again.content == reply.content


def test_a_grant_may_end_at_another_time(ledger: LiveLedger) -> None:
    """Later, sooner or never: it burns in its new order. What is over stays over."""
    book = Book(ledger.caller)
    soon, late = "2100-01-01T00:00:00Z", "2101-01-01T00:00:00Z"
    first, second = book.grant(10, expires_at=soon), book.grant(10, expires_at=late)
    path = f"/grants/{first}/expiry"
    grant = book.post(path, {"expires_at": None, "reason": "loyalty"})["grant"]
    assert (grant["expires_at"], grant["remaining"]) == (None, 10)
    debit = book.get(f"/debits/{book.debit(12)}")
    assert [lot["grant_id"] for lot in debit["lots"]] == [second, first]
    past = book.post(path, {"expires_at": "2020-01-01T00:00:00Z", "reason": "x"}, 400)
    assert past["errors"][0]["pointer"] == "/expires_at"
    assert book.post(path, {"reason": "x"}, 400)["errors"][0]["pointer"] == "/expires_at"
    book.post(f"/grants/{first}/void", {"reason": "x"})
    assert book.post(path, {"expires_at": late, "reason": "x"}, 409)["code"] == "grant_ended"


@pytest.mark.parametrize("way", ["clawback", "void", "expiry"])
def test_a_foreign_grant_is_a_missing_one(ledger: LiveLedger, way: str) -> None:
    """Of another account, another tenant, or of nothing: 404."""
    book, other, foreign = Book(ledger.caller, 1), Book(ledger.caller, 1), Book(ledger.other, 1)
    body: dict[str, Any] = {"reason": "x"}
    if way == "clawback":
        body |= {"reference": "r", "as_of": START.isoformat(), "fraction_millis": 1000}
    if way == "expiry":
        body |= {"expires_at": None}
    for grant_id in (other.first_grant_id, foreign.first_grant_id, "grt_", book.hold(1)):
        problem = book.post(f"/grants/{grant_id}/{way}", body, 404)
        assert problem["code"] == "grant_not_found"
    assert other.get(f"/grants/{other.first_grant_id}")["remaining"] == 1


def test_an_adjustment_is_a_grant_or_a_debit(ledger: LiveLedger) -> None:
    """It bears the id of the one that it is, tells its lots, and is replayed byte for byte."""
    book = Book(ledger.caller, 10)
    credit = {"amount": 25, "direction": "credit", "reason": FREE_TEXT}
    first = book.caller.post(f"{book.path}/adjustments", credit, key="up")
    given = expect(201, first)["adjustment"]
    assert given["lots"] == [{"grant_id": given["adjustment_id"], "amount": 25}]
    grant = book.get(f"/grants/{given['adjustment_id']}")
    assert (grant["source"], grant["remaining"], grant["kind"]) == ("adjustment", 25, "grant")
    debit = {"amount": 12, "direction": "debit", "reason": FREE_TEXT}
    taken = book.post("/adjustments", debit, 201)["adjustment"]
    assert (taken["amount"], taken["direction"], taken["reason"]) == (12, "debit", FREE_TEXT)
    spent = book.get(f"/debits/{taken['adjustment_id']}")
    assert (spent["amount"], spent["lots"]) == (12, taken["lots"])
    assert book.figures("posted") == {"posted": 23}
    again = book.caller.post(f"{book.path}/adjustments", credit, key="up")
    assert again.content == first.content
    assert book.post("/adjustments", debit | {"amount": 24}, 402)["shortfall"] == 1


def test_an_adjustment_opens_no_account(ledger: LiveLedger) -> None:
    """A mistyped account is told, whichever way it goes."""
    body = {"amount": 1, "reason": "x"}
    for direction in ("credit", "debit"):
        problem = Book(ledger.caller).post("/adjustments", body | {"direction": direction}, 404)
        assert problem["code"] == "account_not_found"
    Book(ledger.caller, 1).post("/adjustments", body | {"direction": "none"}, 400)


def test_debt_can_be_forgiven(ledger: LiveLedger) -> None:
    """At most what is owed; when nothing is, `no_debt`."""
    book = Book(ledger.caller, 10)
    book.credit_limit(100)
    book.debit(60)
    reply = book.caller.post(
        f"{book.path}/write-offs", {"amount": 20, "reason": FREE_TEXT}, key="off"
    )
    written = expect(201, reply)["write_off"]
    assert (written["amount"], written["reason"]) == (20, FREE_TEXT)
    assert book.figures("posted", "debt") == {"posted": -30, "debt": 30}
    rest = book.post("/write-offs", {"amount": 1000, "reason": "x"}, 201)
    assert rest["write_off"]["amount"] == 30
    assert book.post("/write-offs", {"reason": "x"}, 409)["code"] == "no_debt"
    again = book.caller.post(
        f"{book.path}/write-offs", {"amount": 20, "reason": FREE_TEXT}, key="off"
    )
    assert again.content == reply.content


def test_the_statement_tells_of_clawbacks(ledger: LiveLedger) -> None:
    """What each did to the balance, with the reference and the reason it was given."""
    book = Book(ledger.caller, 100)
    book.debit(70)
    book.claw_back(book.first_grant_id, fraction_millis=500, reason=FREE_TEXT)
    book.claw_back(book.first_grant_id, amount=10)
    book.post("/adjustments", {"amount": 3, "direction": "credit", "reason": FREE_TEXT}, 201)
    entries = {entry["type"]: entry for entry in reversed(book.get("/entries")["items"])}
    clawbacks = book.get("/entries", type="grant_clawed_back")["items"]
    reversal, raised = clawbacks
    assert (raised["amount"], raised["direction"], raised["reference"]) == (50, "debit", "dispute")
    assert (raised["details"]["taken"], raised["details"]["owed"]) == (30, 20)
    assert raised["details"]["reason"] == FREE_TEXT
    assert (reversal["amount"], reversal["direction"]) == (40, "credit")
    adjusted = entries["credits_granted"]["details"]
    assert (adjusted["source"], adjusted["reason"]) == ("adjustment", FREE_TEXT)
