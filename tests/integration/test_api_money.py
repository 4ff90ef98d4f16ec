"""Grants, debits and refunds over HTTP: the promised shapes, once, and byte for byte again."""

from __future__ import annotations

import pytest

from tests.fixtures.live import LiveLedger, expect, new_account

pytestmark = pytest.mark.slow


def test_the_first_grant_opens_the_account(ledger: LiveLedger) -> None:
    """A grant to an account that nobody opened opens it, and its reply shows both."""
    account_id = new_account()
    reply = ledger.caller.grant(account_id, 100, metadata={"why": "welcome"}, reference="ref-1")
    account, grant = reply["account"], reply["grant"]
    assert account["account_id"] == account_id
    assert account["balance"] == {
        "posted": 100,
        "held": 0,
        "available": 100,
        "debt": 0,
        "credit_limit": 0,
        "pending_expiry": 0,
    }
    assert (account["version"], account["position"]) == (2, reply["position"])
    assert (grant["remaining"], grant["metadata"]) == (100, {"why": "welcome"})
    assert reply["recorded_at"].endswith("Z")
    assert expect(200, ledger.caller.get(f"/v1/accounts/{account_id}")) == account
