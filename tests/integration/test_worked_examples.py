"""The worked examples of the law of credits, over HTTP, figure by figure.

Nobody sweeps here: what expires is booked by the next command, and until then only counted.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fixtures.books import Book
from tests.fixtures.live import Caller, LiveLedger, expect
from tests.fixtures.tenants import new_tenant

pytestmark = pytest.mark.slow

LASTING_SECONDS = 1.0


@pytest.fixture(scope="module")
def graceless(ledger: LiveLedger) -> Caller:
    """Someone in whose tenant credits that come back to an expired grant are gone at once."""
    return new_tenant(ledger, grace_seconds=0)


def soon() -> tuple[str, float]:
    """An instant that is about to come, and when it will have come."""
    at = datetime.now(UTC) + timedelta(seconds=LASTING_SECONDS)
    return at.isoformat(), time.monotonic() + LASTING_SECONDS + 0.05


def wait_until(moment: float) -> None:
    """Let time pass."""
    time.sleep(max(0.0, moment - time.monotonic()))


def test_example_1_what_is_held_outlives_its_grant(graceless: Caller) -> None:
    """Held credits of an expired grant stay spendable by the hold, and by nothing else."""
    book = Book(graceless)
    expires_at, gone = soon()
    book.grant(100, expires_at=expires_at)
    book.grant(50)
    hold_id = book.hold(60)
    wait_until(gone)
    seen = book.figures("posted", "held", "pending_expiry", "available")
    assert seen == {"posted": 150, "held": 60, "pending_expiry": 40, "available": 50}
    reply = book.post(f"/holds/{hold_id}/capture", {"amount": 20})
    assert reply["account"]["balance"]["posted"] == 50
    assert (reply["debit"]["amount"], reply["hold"]["released"]) == (20, 40)


def test_examples_2_and_3_a_dispute_is_lost_and_then_won(ledger: LiveLedger) -> None:
    """What was spent or held becomes debt; what is freed or granted repays it; a reversal gives
    back all of it."""
    book = Book(ledger.caller)
    grant_id = book.grant(100)
    debit_id, hold_id = book.debit(30), book.hold(20)
    clawback = book.claw_back(grant_id, fraction_millis=1000)["clawback"]
    assert (clawback["target"], clawback["taken"], clawback["owed"]) == (100, 50, 50)
    assert book.figures("posted", "debt", "available") == {
        "posted": -30,
        "debt": 50,
        "available": -50,
    }
    book.post(f"/holds/{hold_id}/release", {})
    assert book.get(f"/grants/{grant_id}")["clawback"]["taken"] == 70
    assert book.figures("debt", "available") == {"debt": 30, "available": -30}

    book.grant(100)
    assert book.figures("debt", "posted") == {"debt": 0, "posted": 70}
    assert book.claw_back(grant_id, amount=0)["clawback"]["target"] == 0
    assert book.figures("posted") == {"posted": 170}
    book.caller.refund(book.account_id, debit_id)
    assert book.figures("posted", "available") == {"posted": 200, "available": 200}


def test_example_4_a_credit_limit_carries_debits_and_holds(ledger: LiveLedger) -> None:
    """What is missing comes from the limit; grants and refunds repay it first."""
    book = Book(ledger.caller)
    book.grant(10)
    book.credit_limit(50)
    debit_id = book.debit(40)
    assert book.figures("posted", "available") == {"posted": -30, "available": 20}
    book.hold(20)
    assert book.figures("posted", "available") == {"posted": -30, "available": 0}
    book.grant(25)
    assert book.figures("posted", "available") == {"posted": -5, "available": 25}
    book.caller.refund(book.account_id, debit_id)
    assert book.figures("posted", "available") == {"posted": 35, "available": 65}


def test_example_5_what_has_expired_is_lost_to_the_store_first(graceless: Caller) -> None:
    """Expired credits absorb a clawback; refunded ones pay what is owed, and the rest expires."""
    book = Book(graceless)
    expires_at, gone = soon()
    grant_id = book.grant(100, expires_at=expires_at)
    debit_id = book.debit(80)
    wait_until(gone)
    clawback = book.claw_back(grant_id, fraction_millis=500)["clawback"]
    assert (clawback["absorbed"], clawback["owed"], clawback["taken"]) == (20, 30, 0)
    assert book.figures("debt") == {"debt": 30}
    graceless.refund(book.account_id, debit_id)
    assert book.figures("debt", "posted") == {"debt": 0, "posted": 0}
    grant = book.get(f"/grants/{grant_id}")
    assert (grant["clawback"]["taken"], grant["remaining"], grant["spent"]) == (30, 0, 0)


def test_example_6_a_clawback_follows_a_merge(ledger: LiveLedger) -> None:
    """Credits that went to another account are taken there, and what is owed comes after them."""
    one, other = Book(ledger.caller), Book(ledger.caller)
    grant_id = one.grant(100, source="purchase")
    other.open()
    one.debit(30)
    merge = {
        "from_account_id": one.account_id,
        "to_account_id": other.account_id,
        "amount": "all",
        "merge": True,
        "reason": "same-person",
    }
    reply = expect(201, ledger.caller.post("/v1/transfers", merge))
    assert reply["transfer"]["amount"] == 70
    assert (reply["account"]["status"], reply["account"]["merged_into"]) == (
        "merged",
        other.account_id,
    )
    other.debit(50)
    forwarded = one.claw_back(grant_id, fraction_millis=1000)["clawback"]["forwarded"]
    assert forwarded == 70
    (derived,) = other.get("/grants")["items"]
    assert (derived["kind"], derived["origin"]["grant_id"]) == ("transfer", grant_id)
    assert (derived["clawback"]["taken"], derived["clawback"]["owed"]) == (20, 50)
    assert other.figures("posted") == {"posted": -80}
    assert one.figures("posted", "debt") == {"posted": 0, "debt": 0}
