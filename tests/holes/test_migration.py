"""Holes 16, 17, 21 and 22: what deleting, merging and moving accounts must not do to money."""

from __future__ import annotations

import csv
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ledger_service.audit.replay import replay
from tests.fixtures.books import Book
from tests.fixtures.hand_worker import FAILED, REFUSED, HandWorker
from tests.fixtures.live import Caller, LiveLedger, expect, new_account
from tests.fixtures.migrating import Migrator

pytestmark = pytest.mark.slow


@pytest.fixture
def migrator(ledger: LiveLedger, tmp_path: Path) -> Migrator:
    """Somebody who moves here from such a system."""
    return Migrator(ledger, tmp_path)


def close(ledger: LiveLedger, account_id: str) -> None:
    """The nearest that there is to deleting an account."""
    path = f"/v1/accounts/{account_id}/close"
    expect(200, ledger.caller.post(path, {"reason": "deleted"}))


def entries(ledger: LiveLedger, account_id: str) -> list[Any]:
    """The statement, oldest first."""
    page = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/entries", limit=200))
    return list(reversed(page["items"]))


def merging(guest: str, member: str) -> dict[str, Any]:
    """The body of a merge."""
    return {
        "from_account_id": guest, "to_account_id": member, "amount": "all", "merge": True,
        "reason": "signed-in",
    }  # fmt: skip


def granted(ledger: LiveLedger, account_id: str) -> int:
    """What was ever given or sold to an account."""
    grants = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/grants", limit=200))
    return sum(item["amount"] for item in grants["items"])


def test_hole_16_a_deleted_account_keeps_its_charge_and_gets_its_refund(
    ledger: LiveLedger,
) -> None:
    """Deleting a running job or its account erased the charge and any possible refund."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    ordered = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    claim = worker.claim(ordered["generation_id"])
    assert ledger.caller.http.delete(f"/v1/accounts/{account_id}").status_code == 405
    close(ledger, account_id)
    expect(200, worker.report(claim, FAILED))
    ended = expect(200, ledger.caller.get(f"/v1/generations/{ordered['generation_id']}"))
    assert (ended["status"], ended["charged"], ended["refunded"]) == ("failed", 20, 20)
    kinds = [(entry["type"], entry["amount"]) for entry in entries(ledger, account_id)]
    assert ("credits_debited", 20) in kinds
    assert ("debit_refunded", 20) in kinds
    assert ledger.caller.balance(account_id)["posted"] == 100


def test_hole_17_a_guest_who_signs_in_keeps_everything(ledger: LiveLedger) -> None:
    """A merge failed half-way, wrote balances that it had read before, and left no trace."""
    guest, member, worker = new_account(), new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(guest, 50)
    ledger.caller.grant(member, 7)
    body = {"account_id": guest, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    ordered = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    answer = expect(201, ledger.caller.post("/v1/transfers", merging(guest, member)))
    assert answer["transfer"]["amount"] == 30
    assert ledger.caller.balance(guest)["posted"] == 0
    assert ledger.caller.balance(member)["posted"] == 37
    assert ("debit", 30) in [(it["direction"], it["amount"]) for it in entries(ledger, guest)]
    assert ("credit", 30) in [(it["direction"], it["amount"]) for it in entries(ledger, member)]
    # What was running when they merged is refunded to whom it belongs now.
    expect(200, worker.report(worker.claim(ordered["generation_id"]), REFUSED))
    assert ledger.caller.balance(guest)["posted"] == 0
    assert ledger.caller.balance(member)["posted"] == 57
    spent = ledger.caller.post(f"/v1/accounts/{guest}/debits", {"amount": 1, "reason": "late"})
    assert expect(409, spent)["code"] == "account_merged"


def test_hole_17_merging_at_once_merges_once(ledger: LiveLedger) -> None:
    """Two calls read the same balances, and each wrote its own sum."""
    guest, member = new_account(), new_account()
    ledger.caller.grant(guest, 50)
    ledger.caller.grant(member, 7)

    def merge(_: int) -> int:
        with Caller(ledger.url, ledger.caller.key).http as http:
            key = {"Idempotency-Key": secrets.token_hex(8)}
            return http.post("/v1/transfers", json=merging(guest, member), headers=key).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(merge, range(8)))
    assert statuses == {201: 1, 409: 7}
    assert ledger.caller.balance(member)["posted"] == 57


@pytest.mark.parametrize(("way", "left"), [("capture", 87), ("release", 107)])
def test_a_hold_follows_its_account_into_another(ledger: LiveLedger, way: str, left: int) -> None:
    """A merge overwrote balances, whatever was set aside: now each credit of a hold is spent, or
    arrives where the account went."""
    guest, member = Book(ledger.caller, 100), Book(ledger.caller, 7)
    hold_id = guest.hold(20)
    expect(201, ledger.caller.post("/v1/transfers", merging(guest.account_id, member.account_id)))
    assert member.figures("posted") == {"posted": 87}
    guest.post(f"/holds/{hold_id}/{way}", {})
    assert member.figures("posted", "held") == {"posted": left, "held": 0}
    assert guest.figures("posted", "held", "debt") == {"posted": 0, "held": 0, "debt": 0}


def test_a_pack_that_was_partly_spent_is_taken_back_and_returned(ledger: LiveLedger) -> None:
    """A store's refund did nothing: now what is unspent goes, what was spent is owed, and a
    reversal undoes both."""
    book = Book(ledger.caller, 5)
    pack = book.grant(100, source="purchase", reference="apple-2000000777")
    book.debit(65)  # the first five are those that were not bought
    grant = book.claw_back(pack, fraction_millis=1000)
    assert (grant["clawback"]["taken"], grant["clawback"]["owed"]) == (40, 60)
    assert book.figures("posted", "debt") == {"posted": -60, "debt": 60}
    assert book.claw_back(pack, fraction_millis=1000)["clawback"] == grant["clawback"]
    assert book.figures("posted", "debt") == {"posted": -60, "debt": 60}
    book.claw_back(pack, amount=0)
    assert book.figures("posted", "debt") == {"posted": 40, "debt": 0}


def test_hole_21_a_transaction_counts_once_even_after_its_account_is_gone(
    ledger: LiveLedger,
) -> None:
    """The ledger's rows went with the account, so an old transaction id bought credits again."""
    account_id = new_account()
    purchase = {"amount": 10, "source": "purchase", "reference": "apple-2000000123"}
    path = f"/v1/accounts/{account_id}/grants"
    first = ledger.caller.post(path, purchase, key="apple-2000000123")
    close(ledger, account_id)
    again = ledger.caller.post(path, purchase, key="apple-2000000123")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = ledger.caller.post(path, {**purchase, "amount": 50}, key="apple-2000000123")
    assert expect(422, other)["code"] == "idempotency_key_reused"
    new = ledger.caller.post(path, purchase, key="apple-2000000124")
    assert expect(409, new)["code"] == "account_closed"
    assert ledger.caller.balance(account_id)["posted"] == 10


def test_hole_21_an_imported_transaction_counts_once_whatever_follows(
    ledger: LiveLedger, migrator: Migrator
) -> None:
    """Nor does an import bring it back: not after the credits were spent, nor after a closing."""
    account_id = new_account()
    row = {
        "account_id": account_id, "id": f"{account_id}-apple-1", "type": "grant", "amount": 10,
        "at": "2025-11-08T10:00:00Z", "source": "purchase",
    }  # fmt: skip
    path = migrator.write([row])
    migrator.run("import", path)
    ledger.caller.debit(account_id, 10)
    assert "1 were there before" in migrator.run("import", path, status=1)  # and 10 are spent
    close(ledger, account_id)
    assert "1 were there before" in migrator.run("import", path, status=1)
    assert ledger.caller.balance(account_id)["posted"] == 0
    assert granted(ledger, account_id) == 10


def test_hole_22_refunds_are_no_earnings(ledger: LiveLedger) -> None:
    """A lifetime total of 22 after one grant of 10, spends, and refunds of 12."""
    account_id = new_account()
    ledger.caller.grant(account_id, 10)
    for amount in (8, 4):
        debit = ledger.caller.debit(account_id, amount)["debit"]
        ledger.caller.refund(account_id, debit["debit_id"])
    assert granted(ledger, account_id) == 10
    assert ledger.caller.balance(account_id)["posted"] == 10
    credits_in = [
        (entry["type"], entry["amount"])
        for entry in entries(ledger, account_id)
        if entry["direction"] == "credit"
    ]
    assert credits_in == [("credits_granted", 10), ("debit_refunded", 8), ("debit_refunded", 4)]


def test_hole_22_an_imported_history_grants_what_was_granted(
    ledger: LiveLedger, migrator: Migrator
) -> None:
    """Its refunds go back to their debits; the log's own total agrees."""
    account_id = new_account()
    before = replay(ledger.database.url)
    rows = [
        ("grant", 10, ""),
        ("debit", 4, ""),
        ("refund", 4, f"{account_id}-1"),
        ("debit", 6, ""),
    ]
    path = migrator.folder / "history.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["account_id", "id", "at", "type", "amount", "refund_of"])
        for number, row in enumerate(rows):
            at = f"2025-11-0{number + 1}T00:00:00Z"
            writer.writerow([account_id, f"{account_id}-{number}", at, *row])
    report = migrator.report("import", path)
    assert report["totals"]["granted"] == 10
    assert report["totals"]["refunded"] == 4
    assert granted(ledger, account_id) == 10
    assert ledger.caller.balance(account_id)["posted"] == 4
    after = replay(ledger.database.url)
    assert after.credits_granted - before.credits_granted == 10
    assert after.credits_spent - before.credits_spent == 6
    assert after.differences == []
