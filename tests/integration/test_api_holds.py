"""Holds over HTTP: set aside, captured, released, extended, found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fixtures.books import Book
from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow

FREE_TEXT = "for Ms. Doe's film"


def test_held_credits_are_not_available(ledger: LiveLedger) -> None:
    """They stay posted; a spend or another hold beyond the rest is told the true numbers."""
    book = Book(ledger.caller, 100)
    reply = book.post("/holds", {"amount": 60, "reason": "render"}, 201)
    assert reply["account"]["balance"]["available"] == 40
    assert book.figures("posted", "held") == {"posted": 100, "held": 60}
    for path in ("/holds", "/debits"):
        problem = book.post(path, {"amount": 41, "reason": "x"}, 402)
        numbers = (problem["available"], problem["required"], problem["shortfall"])
        assert numbers == (40, 41, 1)


def test_a_hold_reads_as_it_was_answered(ledger: LiveLedger) -> None:
    """All of its fields; it lasts 15 minutes if nobody says otherwise."""
    book = Book(ledger.caller, 100)
    terms = {"reason": FREE_TEXT, "reference": "job-1", "metadata": {"n": 1}, "tags": ["video"]}
    hold = book.post("/holds", {"amount": 30, **terms}, 201)["hold"]
    assert book.get(f"/holds/{hold['hold_id']}") == hold
    assert book.get("/holds")["items"] == [hold]
    lasting = datetime.fromisoformat(hold["expires_at"]) - datetime.fromisoformat(
        hold["created_at"]
    )
    assert lasting == timedelta(minutes=15)
    shown = {name: hold[name] for name in ("amount", "captured", "released", "status")}
    assert shown == {"amount": 30, "captured": 0, "released": 0, "status": "open"}
    assert (hold["reason"], hold["metadata"]) == (FREE_TEXT, {"n": 1})


def test_a_capture_spends_part_and_frees_the_rest(ledger: LiveLedger) -> None:
    """The debit has the hold's words and can be read, listed and refunded like any other."""
    book = Book(ledger.caller, 100)
    terms = {"reason": FREE_TEXT, "reference": "job-2", "metadata": {"n": 1}}
    hold_id = book.hold(60, **terms)
    reply = book.post(f"/holds/{hold_id}/capture", {"amount": 20})
    hold, debit = reply["hold"], reply["debit"]
    assert (hold["status"], hold["captured"], hold["released"]) == ("captured", 20, 40)
    assert {name: debit[name] for name in terms} == terms
    assert {name: hold[name] for name in terms} == terms
    assert debit["lots"] == [{"grant_id": book.first_grant_id, "amount": 20}]
    assert book.figures("posted", "held") == {"posted": 80, "held": 0}
    assert book.get(f"/debits/{debit['debit_id']}") == debit
    assert book.get("/debits")["items"] == [debit]
    book.caller.refund(book.account_id, debit["debit_id"])
    assert book.get(f"/debits/{debit['debit_id']}")["refunded"] == 20
    assert book.figures("available") == {"available": 100}


@pytest.mark.parametrize("way", ["capture", "release", "extend"])
def test_an_answer_about_a_hold_is_replayed_byte_for_byte(ledger: LiveLedger, way: str) -> None:
    """Its free text comes from the vault, at first and ever after."""
    book = Book(ledger.caller, 100)
    hold_id = book.hold(60, reason=FREE_TEXT, metadata={"a": "ü"})
    body: dict[str, Any] = {"extend": {"ttl_seconds": 3600}}.get(way, {})
    path = f"{book.path}/holds/{hold_id}/{way}"
    first = book.caller.post(path, body, key=way)
    assert expect(200, first)["hold"]["reason"] == FREE_TEXT
    assert first.json()["hold"]["metadata"] == {"a": "ü"}
    book.grant(5)
    again = book.caller.post(path, body, key=way)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    looked_up = book.caller.get(f"{book.path}/commands/{way}")
    assert looked_up.content == first.content


def test_a_hold_ends_once(ledger: LiveLedger) -> None:
    """What has ended says how; nothing more can be done with it."""
    book = Book(ledger.caller, 100)
    released, captured = book.hold(10), book.hold(10)
    assert book.post(f"/holds/{released}/release", {})["hold"]["released"] == 10
    book.post(f"/holds/{captured}/capture", {})
    for hold_id, status in ((released, "released"), (captured, "captured")):
        for way, body in (("capture", {}), ("release", {}), ("extend", {"ttl_seconds": 60})):
            problem = book.post(f"/holds/{hold_id}/{way}", body, 409)
            assert (problem["code"], problem["hold_status"]) == ("hold_not_open", status)
        assert book.get(f"/holds/{hold_id}")["status"] == status
    assert book.figures("posted", "held") == {"posted": 90, "held": 0}


def test_no_more_is_captured_than_was_held(ledger: LiveLedger) -> None:
    """The refusal tells both numbers, and the hold stays open."""
    book = Book(ledger.caller, 100)
    hold_id = book.hold(10)
    problem = book.post(f"/holds/{hold_id}/capture", {"amount": 11}, 409)
    told = (problem["code"], problem["held"], problem["requested"])
    assert told == ("capture_exceeds_hold", 10, 11)
    assert book.get(f"/holds/{hold_id}")["status"] == "open"


def test_an_extension_never_shortens(ledger: LiveLedger) -> None:
    """A hold ends at the later of its old end and the one that is asked for."""
    book = Book(ledger.caller, 100)
    hold_id = book.hold(10, ttl_seconds=600)
    before = book.get(f"/holds/{hold_id}")["expires_at"]
    same = book.post(f"/holds/{hold_id}/extend", {"ttl_seconds": 5})["hold"]
    assert same["expires_at"] == before
    later = book.post(f"/holds/{hold_id}/extend", {"ttl_seconds": 604_800})["hold"]
    assert later["expires_at"] > before


@pytest.mark.parametrize("ttl_seconds", [0, -1, 604_801, 1.5, "60", True])
def test_a_hold_lasts_a_sensible_time(ledger: LiveLedger, ttl_seconds: Any) -> None:
    """From one second to seven days, as an integer."""
    book = Book(ledger.caller, 100)
    hold_id = book.hold(1)
    body = {"amount": 1, "reason": "x", "ttl_seconds": ttl_seconds}
    for path, given in (
        ("/holds", body),
        (f"/holds/{hold_id}/extend", {"ttl_seconds": ttl_seconds}),
    ):
        problem = book.post(path, given, 400)
        assert [error["pointer"] for error in problem["errors"]] == ["/ttl_seconds"]


def test_a_foreign_hold_is_a_missing_one(ledger: LiveLedger) -> None:
    """Ids of another account, another tenant, another kind or of nothing are 404 alike."""
    book, other = Book(ledger.caller, 10), Book(ledger.caller, 10)
    foreign = Book(ledger.other, 10)
    strange = [other.hold(1), foreign.hold(1), book.first_grant_id, "hld_", "x", "release"]
    for hold_id in strange:
        assert book.get(f"/holds/{hold_id}", 404)["code"] == "hold_not_found"
        problem = book.post(f"/holds/{hold_id}/capture", {}, 404)
        assert problem["code"] == "hold_not_found"
    missing = expect(404, ledger.caller.get(f"/v1/accounts/{new_account()}/holds"))
    assert missing["code"] == "account_not_found"


def test_holds_are_found_by_what_they_are(ledger: LiveLedger) -> None:
    """By status, reference and age, in both orders, alone and together."""
    book = Book(ledger.caller, 100)
    first, second = book.hold(1, reference="a"), book.hold(2, reference="b")
    third = book.hold(3, reference="a")
    book.post(f"/holds/{second}/release", {})
    placed = datetime.fromisoformat(book.get(f"/holds/{third}")["created_at"])

    def found(**query: Any) -> list[str]:
        return [hold["hold_id"] for hold in book.get("/holds", **query)["items"]]

    assert found() == [third, second, first]
    assert found(order="oldest") == [first, second, third]
    assert found(status="open") == [third, first]
    assert found(status="open", order="oldest") == [first, third]
    assert found(status="released") == [second]
    assert found(status="expired") == []
    assert found(reference="a") == [third, first]
    assert found(reference="b", status="open") == []
    assert found(placed_before=placed.isoformat()) == [second, first]
    assert found(placed_before=placed.isoformat(), order="oldest", status="open") == [first]
    assert found(placed_before=(placed + timedelta(microseconds=1)).isoformat())[0] == third
    assert found(placed_before="1969-01-01T00:00:00Z") == []
    assert found(placed_before="9999-12-31T23:59:59.999999Z", limit=1) == [third]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_of_holds_are_whole(ledger: LiveLedger, order: str) -> None:
    """Page by page every hold comes once, in order; a cursor is good for its own list alone."""
    book = Book(ledger.caller, 100)
    placed = [book.hold(1) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        query = {"cursor": cursor} if cursor else {}
        page = book.get("/holds", order=order, status="open", limit=3, **query)
        seen += [hold["hold_id"] for hold in page["items"]]
        cursor = page["next_cursor"] or None
        if cursor:
            problem = book.get("/holds", 400, order=order, limit=3, cursor=cursor)
            assert problem["code"] == "cursor_invalid"
    assert seen == (placed if order == "oldest" else placed[::-1])


def test_holds_of_one_reference_are_released_together(ledger: LiveLedger) -> None:
    """The open ones, the oldest first; the answer is replayed, and none at all is fine."""
    book = Book(ledger.caller, 100)
    first, other = book.hold(10, reference="job"), book.hold(5, reference="else")
    captured, last = book.hold(7, reference="job"), book.hold(20, reference="job")
    book.post(f"/holds/{captured}/capture", {})
    body = {"reference": "job", "reason": FREE_TEXT}
    reply = book.caller.post(f"{book.path}/holds/release", body, key="all")
    released = expect(200, reply)
    assert released["holds"] == [
        {"hold_id": first, "amount": 10},
        {"hold_id": last, "amount": 20},
    ]
    assert released["has_more"] is False
    assert released["account"]["balance"]["held"] == 5
    assert book.caller.post(f"{book.path}/holds/release", body, key="all").content == reply.content
    assert book.post("/holds/release", {"reference": "job"})["holds"] == []
    statuses = [book.get(f"/holds/{hold_id}")["status"] for hold_id in (first, other, last)]
    assert statuses == ["released", "open", "released"]
    entry = book.get("/entries", type="holds_released")["items"][-1]
    assert (entry["reference"], entry["details"]["reason"]) == ("job", FREE_TEXT)
    assert entry["details"]["holds"] == released["holds"]


def test_one_call_releases_a_thousand_holds(ledger: LiveLedger) -> None:
    """Then it says that there are more; the next call ends them."""
    book = Book(ledger.caller, 2000)
    commands = [
        {
            "op": "hold",
            "account_id": book.account_id,
            "idempotency_key": f"many-{n}",
            "amount": 1,
            "reason": "many",
            "reference": "many",
        }
        for n in range(1001)
    ]
    for part in (commands[:600], commands[600:]):
        results = expect(200, ledger.caller.http.post("/v1/batches", json={"commands": part}))
        assert {result["status"] for result in results["results"]} == {201}
    first = book.post("/holds/release", {"reference": "many"})
    assert (len(first["holds"]), first["has_more"]) == (1000, True)
    second = book.post("/holds/release", {"reference": "many"})
    assert (len(second["holds"]), second["has_more"]) == (1, False)
    assert book.figures("held", "available") == {"held": 0, "available": 2000}


def test_a_hold_can_be_seen_as_it_was(ledger: LiveLedger) -> None:
    """At an earlier position or instant; filters are for the present."""
    book = Book(ledger.caller, 100)
    before = book.get("")["position"]
    reply = book.post("/holds", {"amount": 60, "reason": FREE_TEXT}, 201)
    hold, position = reply["hold"], reply["position"]
    book.post(f"/holds/{hold['hold_id']}/capture", {"amount": 20})
    path = f"/holds/{hold['hold_id']}"
    assert book.get(path)["status"] == "captured"
    assert book.get(path, at_position=position) == hold
    assert book.get(path, at=reply["recorded_at"]) == hold
    assert book.get("/holds", at_position=position)["items"] == [hold]
    assert book.get("/holds", at_position=before)["items"] == []
    assert book.get(path, 404, at_position=before)["code"] == "hold_not_found"
    book.get("/holds", 400, at_position=position, status="open")
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    book.get(path, 400, at=future)


def test_the_statement_tells_of_holds(ledger: LiveLedger) -> None:
    """Each event with its own facts; only the capture moves the balance."""
    book = Book(ledger.caller, 100)
    hold_id = book.hold(60, reason=FREE_TEXT, reference="job")
    book.post(f"/holds/{hold_id}/extend", {"ttl_seconds": 3600})
    book.post(f"/holds/{hold_id}/capture", {"amount": 20})
    captured, extended, placed = book.get("/entries")["items"][:3]
    shown = [(e["type"], e["amount"], e["direction"]) for e in (placed, extended, captured)]
    assert shown == [
        ("hold_placed", 60, "none"),
        ("hold_extended", 60, "none"),
        ("hold_captured", 20, "debit"),
    ]
    for entry in (placed, extended, captured):
        assert (entry["reference"], entry["details"]["reason"]) == ("job", FREE_TEXT)
        assert entry["details"]["hold_id"] == hold_id
    assert (captured["posted_after"], captured["held_after"]) == (80, 0)
    assert captured["details"]["freed"] == [{"grant_id": book.first_grant_id, "amount": 40}]


def test_a_lost_answer_is_never_told_as_nothing_done(ledger: LiveLedger) -> None:
    """The capture stands though the hold's words cannot be read: the same key tells."""
    book = Book(ledger.caller, 100)
    path = f"{book.path}/holds/{book.hold(60, metadata={'n': 1})}/capture"
    with ledger.database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE ledger.vault IN ACCESS EXCLUSIVE MODE")
        lost = book.caller.post(path, {}, key="capture")
        connection.execute("ROLLBACK")
    assert expect(503, lost)["code"] == "outcome_unknown"
    found = book.caller.post(path, {}, key="capture")
    assert expect(200, found)["debit"]["metadata"] == {"n": 1}
    assert found.headers["idempotent-replayed"] == "true"
