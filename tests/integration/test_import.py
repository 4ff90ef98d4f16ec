"""Another system's credits, brought into a live ledger by the command line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.live import LiveLedger, expect, new_account, serve
from tests.fixtures.migrating import Migrator
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow


@pytest.fixture
def migrator(ledger: LiveLedger, tmp_path: Path) -> Migrator:
    """Somebody with a file and a key for everything."""
    return Migrator(ledger, tmp_path)


def history(account_id: str) -> list[dict[str, Any]]:
    """A life with every kind of row, out of order: 100 - 30 + 10 + 5 - 8 - 20 + 7 = 64."""
    rows = [
        ("refund", 10, "2024-01-03", {"refund_of": f"{account_id}:2"}),
        ("debit", 30, "2024-01-02", {"reason": "video", "reference": "job-1"}),
        ("grant", 100, "2024-01-01", {"source": "purchase", "reference": "order-1"}),
        ("adjustment", 5, "2024-01-04", {"direction": "credit"}),
        ("adjustment", 8, "2024-01-05", {"direction": "debit", "reason": "Grüße an alle"}),
        ("expiry", 20, "2024-01-06", {}),
        ("grant", 7, "2024-01-07", {"expires_at": "2099-01-01T00:00:00Z"}),
    ]
    numbers = (3, 2, 1, 4, 5, 6, 7)
    return [
        {
            "account_id": account_id,
            "id": f"{account_id}:{number}",
            "type": kind,
            "amount": amount,
            "at": f"{day}T12:00:00Z",
            **rest,
        }
        for number, (kind, amount, day, rest) in zip(numbers, rows, strict=True)
    ]


def head(ledger: LiveLedger) -> int:
    """How long the log is."""
    position: int = expect(200, ledger.caller.get("/v1/events", limit=1))["head"]
    return position


def test_opening_balances_arrive_with_their_terms(ledger: LiveLedger, migrator: Migrator) -> None:
    """Each is a lot with its source, end and cost; an empty account is not opened."""
    rich, poor = new_account(), new_account()
    rows = [
        {"account_id": rich, "balance": 60},
        {
            "account_id": rich, "balance": 40, "id": "bought", "source": "purchase",
            "expires_at": "2099-01-01T00:00:00Z", "unit_cost_micros": 9000, "currency": "EUR",
            "reference": "order-7",
        },
        {"account_id": poor, "balance": 0},
    ]  # fmt: skip
    report = migrator.report("import", migrator.write(rows))
    assert (report["sent"]["applied"], report["comparison"]["equal"]) == (2, 2)
    bought, opening = expect(200, ledger.caller.get(f"/v1/accounts/{rich}/grants"))["items"]
    assert (opening["source"], opening["expires_at"]) == ("migration", None)
    assert (bought["source"], bought["currency"]) == ("purchase", "EUR")
    assert (bought["unit_cost_micros"], bought["reference"]) == (9000, "order-7")
    assert bought["expires_at"] == "2099-01-01T00:00:00Z"
    expect(404, ledger.caller.get(f"/v1/accounts/{poor}"))


@pytest.mark.parametrize("name", ["rows.csv", "rows.ndjson"])
def test_a_history_is_replayed_in_its_order(
    ledger: LiveLedger, migrator: Migrator, name: str
) -> None:
    """Whatever the order of the rows; the original instants are kept beside our own."""
    account_id = new_account()
    report = migrator.report("import", migrator.write(history(account_id), name))
    assert report["totals"] == {
        "rows": 7, "accounts": 1, "granted": 112, "refunded": 10, "taken": 58
    }  # fmt: skip
    assert ledger.caller.balance(account_id)["posted"] == 64
    (debit,) = [
        item
        for item in expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/debits"))["items"]
        if item["reference"] == "job-1"
    ]
    assert (debit["amount"], debit["refunded"], debit["reason"]) == (30, 10, "video")
    assert debit["metadata"]["imported_at_origin"] == "2024-01-02T12:00:00+00:00"
    refunds = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/refunds"))["items"]
    assert [item["reason"] for item in refunds] == ["refund:2024-01-03T12:00:00.000000Z"]


def test_a_second_run_imports_nothing(ledger: LiveLedger, migrator: Migrator) -> None:
    """Not from the same file, nor from one in which rows were added and the order is another."""
    account_id = new_account()
    rows = history(account_id)
    migrator.run("import", migrator.write(rows))
    before = head(ledger)
    assert "0 applied, 7 were there before" in migrator.run("import", migrator.write(rows))
    assert head(ledger) == before
    more = {**rows[2], "id": f"{account_id}:8", "at": "2024-02-01T12:00:00Z"}
    said = migrator.run("import", migrator.write([more, *reversed(rows)], "more.ndjson"))
    assert "1 applied, 7 were there before" in said
    assert ledger.caller.balance(account_id)["posted"] == 164


def test_an_import_that_was_killed_is_run_again(ledger: LiveLedger, migrator: Migrator) -> None:
    """Every row counts once, and the second run says how many it found done."""
    accounts = [new_account() for _ in range(300)]
    path = migrator.write([row for account_id in accounts for row in history(account_id)])
    before = head(ledger)
    process = migrator.start("import", path)
    while head(ledger) == before:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    done = _commands_since(ledger, before)
    report = migrator.report("import", path)
    sent = report["sent"]
    assert sent["applied"] + sent["replayed"] == 2_100
    assert 0 < done <= sent["replayed"] < 2_100  # what was under way may have been done as well
    assert report["comparison"]["equal"] == 300
    assert _commands_since(ledger, before) == 2_100
    assert not path.with_name("rows.csv.import").exists()


def test_a_killed_import_goes_on_where_it_was(ledger: LiveLedger, migrator: Migrator) -> None:
    """With --resume what was answered is not sent again; the outcome is the same."""
    accounts = [new_account() for _ in range(300)]
    path = migrator.write([row for account_id in accounts for row in history(account_id)])
    before = head(ledger)
    process = migrator.start("import", path)
    while _commands_since(ledger, before) <= 1_000:  # then the first batch has been noted
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    report = migrator.report("import", path, "--resume")
    sent = report["sent"]
    assert sent["applied"] + sent["replayed"] < 2_100
    assert report["comparison"]["equal"] == 300
    assert _commands_since(ledger, before) == 2_100


def test_an_import_waits_for_a_ledger_that_is_away(
    processes: Processes, database: Database, tmp_path: Path
) -> None:
    """Killed under the import and started again: it goes on, and nothing counts twice."""
    live = serve(processes, database)
    migrator = Migrator(live, tmp_path)
    rows = [row for number in range(300) for row in history(f"waiting-{number}")]
    importing = migrator.start("import", migrator.write(rows))
    while head(live) == 0:
        assert importing.poll() is None, importing.communicate()
        time.sleep(0.001)
    live.process.kill()
    time.sleep(0.5)
    live.process.start()
    out, err = importing.communicate(timeout=60)
    assert (importing.returncode, err) == (0, "")
    assert "300 accounts equal" in out
    assert _commands_since(live, 0) == 2_100
    live.close()


def test_a_state_of_another_file_is_not_resumed(ledger: LiveLedger, migrator: Migrator) -> None:
    """A file that has changed since is read anew, or not at all."""
    account_id = new_account()
    ledger.caller.grant(account_id, 1)
    expect(200, ledger.caller.post(f"/v1/accounts/{account_id}/close", {"reason": "test"}))
    path = migrator.write([{"account_id": account_id, "balance": 5}])
    migrator.run("import", path, status=1)  # refused, so its state is kept
    migrator.write([{"account_id": account_id, "balance": 50}])
    assert "has changed since" in migrator.run("import", path, "--resume", status=1)
    state = path.with_name("rows.csv.import")
    state.write_bytes(b"no database" * 1_000)
    assert "run without --resume" in migrator.run("import", path, "--resume", status=1)
    migrator.run("import", path, status=1)


def test_a_file_with_one_bad_row_changes_nothing(ledger: LiveLedger, migrator: Migrator) -> None:
    """All faults are told with their lines, and nothing at all is sent."""
    account_id = new_account()
    before = head(ledger)
    bad = {"account_id": account_id, "balance": -1}
    rows = [{"account_id": account_id, "balance": 5}, bad, {**bad, "balance": "1.5"}]
    report = migrator.report("import", migrator.write(rows), status=1)
    assert [fault["line"] for fault in report["faults"]] == [3, 4]
    assert report["sent"] is None
    assert head(ledger) == before


def test_a_dry_run_changes_nothing(ledger: LiveLedger, migrator: Migrator) -> None:
    """It asks the ledger for every grant, and says what is there already."""
    new, closed = new_account(), new_account()
    ledger.caller.grant(closed, 3)
    expect(200, ledger.caller.post(f"/v1/accounts/{closed}/close", {"reason": "test"}))
    before = head(ledger)
    good = migrator.write(history(new))
    assert "7 would be applied, 0 refused" in migrator.run("import", good, "--dry-run")
    bad = migrator.write([*history(new), *history(closed)], "bad.csv")
    report = migrator.report("import", bad, "--dry-run", status=1)
    assert {refusal["code"] for refusal in report["sent"]["refusals"]} == {"account_closed"}
    assert (report["comparison"]["missing"], report["comparison"]["different"]) == (1, 1)
    assert head(ledger) == before
    assert sorted(path.name for path in migrator.folder.glob("*import*")) == []


def test_a_refusal_stops_its_account_alone(ledger: LiveLedger, migrator: Migrator) -> None:
    """What came after it would be on wrong ground; the other accounts go on."""
    good, closed = new_account(), new_account()
    ledger.caller.grant(closed, 3)
    expect(200, ledger.caller.post(f"/v1/accounts/{closed}/close", {"reason": "test"}))
    path = migrator.write([*history(closed), *history(good)])
    report = migrator.report("import", path, status=1)
    sent = report["sent"]
    assert (sent["applied"], sent["refused"], sent["held_back"]) == (7, 1, 6)
    assert sent["refusals"][0]["line"] == 4
    (difference,) = report["comparison"]["differences"]
    assert difference == {"account_id": closed, "file": 64, "ledger": 3}
    assert report["comparison"]["equal"] == 1


def test_an_id_with_another_meaning_is_refused(ledger: LiveLedger, migrator: Migrator) -> None:
    """A row that was imported and has changed since is neither applied nor passed over."""
    account_id = new_account()
    migrator.run("import", migrator.write([{"account_id": account_id, "balance": 5}]))
    path = migrator.write([{"account_id": account_id, "balance": 6}])
    report = migrator.report("import", path, status=1)
    assert report["sent"]["refusals"][0]["code"] == "idempotency_key_reused"
    assert report["comparison"]["differences"][0]["ledger"] == 5


def test_what_happened_beside_an_import_is_reported(ledger: LiveLedger, migrator: Migrator) -> None:
    """Equal, different and missing accounts are told apart, with totals, and the exit says so."""
    accounts = [new_account() for _ in range(3)]
    path = migrator.write([{"account_id": account_id, "balance": 5} for account_id in accounts])
    migrator.run("import", path)
    ledger.caller.debit(accounts[1], 2)
    report = migrator.report("import", path, status=1)["comparison"]
    assert (report["equal"], report["different"], report["missing"]) == (2, 1, 0)
    assert (report["file_credits"], report["ledger_credits"]) == (15, 13)
    assert f"{accounts[1]:<40} {5:>16} {3:>16} {-2:>+16}" in migrator.run("import", path, status=1)


def test_a_key_that_may_not_import_ends_it(ledger: LiveLedger, tmp_path: Path) -> None:
    """At the first answer, and not once for every row."""
    reader = Migrator(ledger, tmp_path, ledger.reader)
    path = reader.write([{"account_id": new_account(), "balance": 5}])
    assert "forbidden" in reader.run("import", path, status=1)
    reader.env["LEDGER_API_KEY"] = "nonsense"
    assert "unauthenticated" in reader.run("import", path, status=1)
    del reader.env["LEDGER_API_KEY"]
    assert "LEDGER_API_KEY" in reader.run("import", path, status=1)


def test_columns_are_renamed_on_the_way(ledger: LiveLedger, migrator: Migrator) -> None:
    """A table as it was exported can be imported; a column that nobody knows is a fault."""
    account_id = new_account()
    path = migrator.write([{"user_id": account_id, "credits": 9, "tier": "gold"}], "users.txt")
    names = ("--format", "csv", "--map", "user_id=account_id", "--map", "credits=balance")
    assert "--map tier=" in migrator.run("import", path, *names, status=1)
    migrator.run("import", path, *names, "--map", "tier=")
    assert ledger.caller.balance(account_id)["posted"] == 9
    assert "COLUMN=FIELD" in migrator.run("import", path, *names, "--map", "tier=gold", status=1)


def _commands_since(ledger: LiveLedger, position: int) -> int:
    """How many commands of imports are in the log behind a position."""
    count: int = 0
    after = position
    while True:
        page = expect(200, ledger.caller.get("/v1/events", after=after, limit=1000))
        keys = [item["idempotency_key"] or "" for item in page["items"] if item["last_of_command"]]
        count += sum(key.startswith("import:") for key in keys)
        after = page["next_after"]
        if after >= page["head"]:
            return count
