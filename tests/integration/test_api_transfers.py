"""Transfers, merges, freezing and closing, over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fixtures.books import Book
from tests.fixtures.live import LiveLedger, expect

pytestmark = pytest.mark.slow

FREE_TEXT = "one person, two accounts"


def transfer(giver: Book, taker: Book, status: int = 201, /, **fields: Any) -> Any:
    """Move credits between two accounts; returns the document."""
    body = {
        "from_account_id": giver.account_id,
        "to_account_id": taker.account_id,
        "amount": "all",
        "reason": FREE_TEXT,
        **fields,
    }
    return expect(status, giver.caller.post("/v1/transfers", body))


def test_credits_arrive_on_their_terms(ledger: LiveLedger) -> None:
    """Source, priority, end, cost and restriction are kept; the reply shows the giver."""
    giver, taker = Book(ledger.caller), Book(ledger.caller, 1)
    terms = {
        "source": "purchase",
        "priority": 7,
        "expires_at": "2100-01-01T00:00:00Z",
        "unit_cost_micros": 12,
        "restrict_to": ["video"],
    }
    grant_id = giver.grant(100, **terms)
    reply = transfer(giver, taker, amount=30)
    moved = reply["transfer"]
    shown = (moved["from_account_id"], moved["to_account_id"], moved["amount"], moved["reason"])
    assert shown == (giver.account_id, taker.account_id, 30, FREE_TEXT)
    assert moved["transfer_id"].startswith("trf_")
    assert reply["account"] == giver.get("")
    arrived = taker.get("/grants")["items"][0]
    assert {name: arrived[name] for name in terms} == terms
    assert (arrived["amount"], arrived["kind"]) == (30, "transfer")
    assert arrived["origin"] == {"account_id": giver.account_id, "grant_id": grant_id}
    assert (giver.figures("posted"), taker.figures("posted")) == ({"posted": 70}, {"posted": 31})


def test_a_transfer_is_replayed_byte_for_byte(ledger: LiveLedger) -> None:
    """Its key is the giver's; to another account it is another request."""
    giver, taker = Book(ledger.caller, 100), Book(ledger.caller, 1)
    body = {
        "from_account_id": giver.account_id,
        "to_account_id": taker.account_id,
        "amount": 5,
        "reason": FREE_TEXT,
    }
    first = ledger.caller.post("/v1/transfers", body, key="once")
    expect(201, first)
    again = ledger.caller.post("/v1/transfers", body, key="once")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert giver.caller.get(f"{giver.path}/commands/once").content == first.content
    other = {**body, "amount": 6}
    assert expect(422, ledger.caller.post("/v1/transfers", other, key="once"))
    assert taker.figures("posted") == {"posted": 6}


def test_no_more_moves_than_is_free(ledger: LiveLedger) -> None:
    """Held credits and debt stay; `all` is what may go, and nothing at all is refused."""
    giver, taker = Book(ledger.caller, 100), Book(ledger.caller, 1)
    giver.hold(30)
    problem = transfer(giver, taker, 402, amount=71)
    assert (problem["code"], problem["available"], problem["shortfall"]) == (
        "insufficient_credits",
        70,
        1,
    )
    assert transfer(giver, taker)["transfer"]["amount"] == 70
    assert transfer(giver, taker, 402)["available"] == 0


def test_both_accounts_must_be_there(ledger: LiveLedger) -> None:
    """The one that is missing is named, and a foreign one looks just the same."""
    mine, theirs, nowhere = Book(ledger.caller, 9), Book(ledger.other, 9), Book(ledger.caller)
    for stranger in (theirs, nowhere):
        for giver, taker in ((mine, stranger), (stranger, mine)):
            body = {
                "from_account_id": giver.account_id,
                "to_account_id": taker.account_id,
                "amount": 1,
                "reason": "x",
            }
            problem = expect(404, ledger.caller.post("/v1/transfers", body))
            assert problem["code"] == "account_not_found"
            assert problem["account_id"] == stranger.account_id
    assert theirs.figures("posted") == {"posted": 9}
    assert transfer(mine, mine, 400, amount=1)["code"] == "same_account"


@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("/amount", {"amount": "some"}),
        ("/amount", {"amount": 0}),
        ("/amount", {"amount": "5"}),
        ("/amount", {"amount": None}),
        ("/amount", {"amount": 5, "merge": True}),
        ("/merge", {"merge": "yes"}),
        ("/to_account_id", {"to_account_id": "a b"}),
        ("/from_account_id", {"from_account_id": ""}),
        ("/reason", {"reason": ""}),
    ],
)
def test_a_wrong_transfer_is_pointed_at(
    ledger: LiveLedger, pointer: str, fields: dict[str, Any]
) -> None:
    """A merge takes everything, and an amount is a number or `all`."""
    giver, taker = Book(ledger.caller, 9), Book(ledger.caller, 1)
    problem = transfer(giver, taker, 400, **fields)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_units_do_not_mix(ledger: LiveLedger) -> None:
    """Credits of one unit never arrive as another."""
    giver, taker = Book(ledger.caller, 9), Book(ledger.caller)
    taker.open(unit="token")
    problem = transfer(giver, taker, 409, amount=1)
    assert (problem["code"], problem["unit"], problem["to_unit"]) == (
        "unit_mismatch",
        "credit",
        "token",
    )


def test_whatever_comes_to_a_merged_account_goes_on(ledger: LiveLedger) -> None:
    """Grants, refunds and released holds reach the other account; spending is refused."""
    old, new = Book(ledger.caller, 100), Book(ledger.caller, 1)
    debit_id, hold_id = old.debit(10), old.hold(20)
    reply = transfer(old, new, merge=True)
    assert (reply["account"]["status"], reply["account"]["merged_into"]) == (
        "merged",
        new.account_id,
    )
    assert reply["transfer"]["amount"] == 70
    assert new.figures("posted") == {"posted": 71}
    granted = old.caller.grant(old.account_id, 5)
    assert granted["account"]["merged_into"] == new.account_id
    assert granted["grant"]["remaining"] == 0
    assert old.get(f"/grants/{granted['grant']['grant_id']}")["remaining"] == 0
    old.caller.refund(old.account_id, debit_id)
    old.post(f"/holds/{hold_id}/release", {})
    assert new.figures("posted") == {"posted": 106}
    assert old.figures("posted", "held", "debt") == {"posted": 0, "held": 0, "debt": 0}
    problem = old.post("/debits", {"amount": 1, "reason": "x"}, 409)
    assert (problem["code"], problem["merged_into"]) == ("account_merged", new.account_id)
    assert transfer(old, new, 409, merge=True)["code"] == "account_merged"
    third = Book(ledger.caller, 1)
    assert transfer(third, old, 409, merge=True)["code"] == "account_merged"


def test_a_merge_of_nothing_is_a_merge(ledger: LiveLedger) -> None:
    """An account without credits hands over its debt and its future."""
    old, new = Book(ledger.caller, 10), Book(ledger.caller, 100)
    old.credit_limit(50)
    old.debit(40)
    reply = transfer(old, new, merge=True)
    assert reply["transfer"]["amount"] == 0
    assert reply["account"]["balance"]["debt"] == 0
    assert new.figures("posted") == {"posted": 70}


def test_a_frozen_account_spends_nothing(ledger: LiveLedger) -> None:
    """Grants, refunds and captures go on; unfrozen, it spends again. Both may be repeated."""
    book, other = Book(ledger.caller, 100), Book(ledger.caller, 1)
    debit_id, hold_id = book.debit(10), book.hold(20)
    first = book.caller.post(f"{book.path}/freeze", {"reason": FREE_TEXT}, key="f")
    assert expect(200, first)["account"]["status"] == "frozen"
    assert book.post("/freeze", {"reason": "again"})["account"]["status"] == "frozen"
    for path in ("/debits", "/holds"):
        problem = book.post(path, {"amount": 1, "reason": "x"}, 409)
        assert problem["code"] == "account_frozen"
    assert transfer(book, other, 409)["code"] == "account_frozen"
    book.grant(5)
    book.caller.refund(book.account_id, debit_id)
    book.post(f"/holds/{hold_id}/capture", {})
    assert book.figures("posted") == {"posted": 85}
    assert book.post("/unfreeze", {"reason": "x"})["account"]["status"] == "active"
    book.debit(1)
    again = book.caller.post(f"{book.path}/freeze", {"reason": FREE_TEXT}, key="f")
    assert again.content == first.content
    entry = book.get("/entries", type="account_frozen")["items"][-1]
    assert entry["details"]["reason"] == FREE_TEXT


def test_a_closed_account_stays_closed(ledger: LiveLedger) -> None:
    """Neither spends nor grants; what was begun ends; nothing opens it again."""
    book, other = Book(ledger.caller, 100), Book(ledger.caller, 1)
    debit_id, hold_id = book.debit(10), book.hold(20)
    assert book.post("/close", {"reason": "x"})["account"]["status"] == "closed"
    for path, body in (
        ("/debits", {"amount": 1, "reason": "x"}),
        ("/holds", {"amount": 1, "reason": "x"}),
        ("/grants", {"amount": 1, "source": "promo"}),
        ("/adjustments", {"amount": 1, "direction": "credit", "reason": "x"}),
        ("/unfreeze", {"reason": "x"}),
        ("/close", {"reason": "x"}),
    ):
        assert book.post(path, body, 409)["code"] == "account_closed"
    assert transfer(other, book, 409)["code"] == "account_closed"
    book.post(f"/holds/{hold_id}/release", {})
    book.caller.refund(book.account_id, debit_id)
    assert book.figures("posted", "held") == {"posted": 100, "held": 0}


def test_crossing_transfers_keep_every_credit(ledger: LiveLedger) -> None:
    """Both ways at once, many times: nothing is lost, made or stuck."""
    one, other = Book(ledger.caller, 100), Book(ledger.caller, 100)

    def move(number: int) -> int:
        giver, taker = (one, other) if number % 2 else (other, one)
        body = {
            "from_account_id": giver.account_id,
            "to_account_id": taker.account_id,
            "amount": 7,
            "reason": "x",
        }
        return giver.caller.post("/v1/transfers", body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(move, range(60)))
    assert statuses <= {201, 402}
    assert one.figures("posted")["posted"] + other.figures("posted")["posted"] == 200
