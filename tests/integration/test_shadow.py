"""The ledger beside an old credits table: every difference is told, and how long it lasted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.live import LiveLedger, new_account
from tests.fixtures.migrating import Migrator
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


@pytest.fixture
def migrator(ledger: LiveLedger, tmp_path: Path) -> Migrator:
    """Somebody who runs both systems for a while, with a key that may read."""
    return Migrator(ledger, tmp_path, ledger.reader)


@pytest.fixture
def old_table(database: Database, migrator: Migrator) -> Callable[[str, int], None]:
    """Another system's database; sets an account's balance in it."""
    migrator.env["SHADOW_DSN"] = database.owner_url
    with database.connect_owner() as connection:
        connection.execute("CREATE SCHEMA old")
        connection.execute("CREATE SEQUENCE old.counter")
        connection.execute("CREATE TABLE old.credits (account_id text PRIMARY KEY, balance int)")

    def put(account_id: str, balance: int) -> None:
        with database.connect_owner() as connection:
            connection.execute(
                "INSERT INTO old.credits VALUES (%s, %s)"
                " ON CONFLICT (account_id) DO UPDATE SET balance = EXCLUDED.balance",
                (account_id, balance),
            )

    return put


def test_equal_balances_are_equal(ledger: LiveLedger, migrator: Migrator) -> None:
    """One look is enough; an account that is nowhere has nothing."""
    account_id = new_account()
    ledger.caller.grant(account_id, 12)
    rows = [{"account_id": account_id, "balance": 12}, {"account_id": new_account(), "balance": 0}]
    assert "0 differ now" in migrator.run("shadow", "--file", migrator.write(rows))


def test_a_difference_that_lasts_counts(ledger: LiveLedger, migrator: Migrator) -> None:
    """Without following, it is looked at until that is known; accounts may be missing."""
    account_id, missing = new_account(), new_account()
    ledger.caller.grant(account_id, 12)
    rows = [{"account_id": account_id, "balance": 10}, {"account_id": missing, "balance": 1}]
    path = migrator.write(rows, "old.ndjson")
    seen = migrator.report("shadow", "--file", path, "--tolerance", "0.2", status=1)
    assert seen["rounds"] >= 2
    found = {sighting["account_id"]: sighting for sighting in seen["counted"]}
    assert (found[account_id]["old"], found[account_id]["ledger"]) == (10, 12)
    assert (found[missing]["old"], found[missing]["ledger"]) == (1, None)
    assert found[missing]["first_seen_at"] < found[missing]["last_seen_at"]


def test_what_is_held_may_be_what_the_old_system_took(
    ledger: LiveLedger, migrator: Migrator
) -> None:
    """The available balance is compared where the old system charges at the start."""
    account_id = new_account()
    ledger.caller.grant(account_id, 12)
    ledger.caller.post(f"/v1/accounts/{account_id}/holds", {"amount": 5, "reason": "test"})
    path = migrator.write([{"account_id": account_id, "balance": 7}])
    migrator.run("shadow", "--file", path, status=1)
    migrator.run("shadow", "--file", path, "--balance", "available")


def test_two_systems_are_followed(
    ledger: LiveLedger, migrator: Migrator, old_table: Callable[[str, int], None]
) -> None:
    """What was late by a moment is told and does not count; what stays counts, until Ctrl-C."""
    late, wrong = new_account(), new_account()
    for account_id in (late, wrong):
        ledger.caller.grant(account_id, 9)
        old_table(account_id, 9)
    follow = ("shadow", "--table", "old.credits", "--follow", "0.1", "--tolerance", "3")
    process = migrator.start(*follow)
    assert process.stdout is not None
    old_table(late, 5)
    assert f"{late} differs: old 5, ledger 9, first seen" in process.stdout.readline()
    ledger.caller.debit(late, 4)
    assert f"{late} equal again" in process.stdout.readline()
    old_table(wrong, 8)
    assert f"{wrong} differs: old 8, ledger 9" in process.stdout.readline()
    assert f"{wrong} DIFFERENCE: old 8, ledger 9" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")
    assert "1 differ now, 1 differences counted" in out


def test_a_query_can_only_read(
    migrator: Migrator, old_table: Callable[[str, int], None], database: Database
) -> None:
    """Whatever it says, the old database is left as it was; and nonsense is told as such."""
    old_table("somebody", 1)
    select = "SELECT account_id, balance FROM old.credits"
    writing = "SELECT account_id, nextval('old.counter') FROM old.credits"
    assert "read-only" in migrator.run("shadow", "--query", writing, status=1)
    migrator.run("shadow", "--query", f"{select}; DELETE FROM old.credits", status=1)
    with database.connect_owner() as connection:
        assert connection.execute(select).fetchall() == [("somebody", 1)]
    halves = "SELECT account_id, balance / 2.0 FROM old.credits"
    assert "whole balance" in migrator.run("shadow", "--query", halves, status=1)
    assert "nowhere" in migrator.run("shadow", "--table", "nowhere", status=1)
    migrator.env["SHADOW_DSN"] = "postgresql://127.0.0.1:1/none"
    assert "old database" in migrator.run("shadow", "--table", "credits", status=1)
    del migrator.env["SHADOW_DSN"]
    assert "SHADOW_DSN" in migrator.run("shadow", "--table", "credits", status=1)
