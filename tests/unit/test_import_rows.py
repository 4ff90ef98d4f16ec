"""What a row of an import may say, and the command that it becomes."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ledger_service.errors import RefusedToStart
from ledger_service.importing.files import Format, format_of, read_file
from ledger_service.importing.rows import BadRow, from_text, read_step
from ledger_service.importing.running import Plan, run_import, stage
from ledger_service.importing.sending import Queue
from ledger_service.importing.staging import Fault, Staged, Staging, Totals

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GRANT: dict[str, Any] = {
    "account_id": "u-1",
    "id": "t-1",
    "type": "grant",
    "amount": 10,
    "at": "2024-05-01 12:00:00+02",
}
DEBIT = {**GRANT, "id": "t-2", "type": "debit", "amount": 4, "at": "2024-05-02T00:00:00Z"}
REFUND = {**DEBIT, "id": "t-3", "type": "refund", "refund_of": "t-2", "at": "2024-05-03T00:00:00Z"}


def command(fields: dict[str, Any]) -> dict[str, Any]:
    """The command of a row."""
    found = read_step(1, fields, NOW).command
    assert found is not None
    return found


def test_a_grant_keeps_its_origin_and_never_ends_by_a_policy() -> None:
    """Source is `migration` unless given, the end is stated even when there is none."""
    assert command(GRANT) == {
        "op": "grant",
        "account_id": "u-1",
        "idempotency_key": "import:t-1",
        "amount": 10,
        "source": "migration",
        "expires_at": None,
        "unit_cost_micros": None,
        "currency": None,
        "reference": None,
        "metadata": {"imported_at_origin": "2024-05-01T10:00:00+00:00"},
    }
    assert command({**GRANT, "source": "purchase", "reference": "r"})["source"] == "purchase"


def test_the_original_instant_is_kept_whatever_a_row_becomes() -> None:
    """In the metadata where there is one, else in the reason, which reads like a code."""
    assert command(DEBIT)["metadata"] == {"imported_at_origin": "2024-05-02T00:00:00+00:00"}
    assert command(REFUND)["reason"] == "refund:2024-05-03T00:00:00.000000Z"
    expiry = command({**DEBIT, "type": "expiry"})
    assert (expiry["op"], expiry["direction"]) == ("adjust", "debit")
    assert expiry["reason"] == "expiry:2024-05-02T00:00:00.000000Z"


def test_an_adjustment_goes_where_its_direction_says() -> None:
    """Upwards it is a grant of that source, which may open the account; downwards an adjustment."""
    up = read_step(1, {**GRANT, "type": "adjustment", "direction": "credit"}, NOW)
    down = read_step(1, {**GRANT, "type": "adjustment", "direction": "debit"}, NOW)
    assert (up.change, down.change) == (10, -10)
    assert up.command is not None
    assert (up.command["op"], up.command["source"]) == ("grant", "adjustment")


def test_an_opening_balance_is_named_after_its_account() -> None:
    """Its key does not depend on the file; several lots of one account are told apart by `id`."""
    one = command({"account_id": "u-1", "balance": 5})
    other = command({"account_id": "u-1", "balance": 7, "id": "promo", "source": "promo"})
    assert one["idempotency_key"] == "import:opening:u-1"
    assert other["idempotency_key"] == "import:opening:u-1#promo"
    empty = read_step(1, {"account_id": "u-1", "balance": 0}, NOW)
    assert (empty.change, empty.command) == (0, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": -4}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 4.0}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "4"}, "amount"),
        ({"amount": 10**12 + 1}, "amount"),
        ({"account_id": "ada@example.org"}, "account_id"),
        ({"account_id": "u 1"}, "account_id"),
        ({"account_id": "u\n"}, "account_id"),
        ({"account_id": None}, "account_id"),
        ({"id": "t\u00e4"}, "id"),
        ({"id": "opening:u-1"}, "id"),
        ({"id": "x" * 101}, "id"),
        ({"type": "bonus"}, "type"),
        ({"type": "adjustment"}, "direction"),
        ({"type": "adjustment", "direction": "none"}, "direction"),
        ({"direction": "credit"}, "direction"),
        ({"type": "refund"}, "refund_of"),
        ({"refund_of": "t-1"}, "refund_of"),
        ({"at": "2024-05-01T12:00:00"}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": 1714557600}, "at"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "at"),
        ({"expires_at": "2026-05-31T23:59:59Z"}, "expires_at"),
        ({"type": "debit", "expires_at": "2030-01-01T00:00:00Z"}, "expires_at"),
        ({"type": "expiry", "reference": "r"}, "reference"),
        ({"type": "expiry", "reason": "x" * 200}, "reason"),
        ({"reference": "a\x00b"}, "reference"),
        ({"reference": "\udcff"}, "reference"),
        ({"balance": 4}, "unknown field"),
        ({"colour": "red"}, "colour"),
        ({"reference": {"a": 1}}, "reference"),
    ],
)
def test_a_row_that_is_wrong_says_where(change: dict[str, Any], field: str) -> None:
    """Nothing is guessed, rounded or left out."""
    with pytest.raises(BadRow, match=field):
        read_step(1, {**GRANT, **change}, NOW)


@pytest.mark.parametrize("text", ["1.5", "1e3", "+4", " 4", "4 ", "\u0664", "1" * 19, "0x4", "4\n"])
def test_a_cell_holds_a_whole_number_or_none(text: str) -> None:
    """Numbers of CSV are digits and nothing else."""
    with pytest.raises(BadRow, match="amount"):
        from_text({"amount": text})


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    """A row of CSV is the row of NDJSON with its empty cells left out; lines count from 1."""
    csv, ndjson = tmp_path / "rows.csv", tmp_path / "rows.ndjson"
    rows = [GRANT, DEBIT, REFUND]
    names = list(REFUND)
    cells = [",".join(str(row.get(name, "")) for name in names) for row in rows]
    csv.write_text("\ufeff" + "\r\n".join([",".join(names), *cells]) + "\r\n")
    ndjson.write_text("\n".join(["", *map(json.dumps, rows)]))
    read = [list(read_file(path, format_of(path, None), {})) for path in (csv, ndjson)]
    assert read[0] == read[1]
    assert [row.line for row in read[0]] == [2, 3, 4]
    assert [row.fields for row in read[0]] == rows


def test_columns_may_have_names_of_their_own(tmp_path: Path) -> None:
    """A column is renamed, or passed over when it has no new name."""
    path = tmp_path / "rows.csv"
    path.write_text("user,credits_remaining,tier\nu-1,6,gold\n")
    renames = {"user": "account_id", "credits_remaining": "balance", "tier": ""}
    (row,) = read_file(path, Format.CSV, renames)
    assert row.fields == {"account_id": "u-1", "balance": 6}


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b"NaN",
        b'{"amount": 1, "amount": 2}',
        b"\xff",
        b"[" * 60_000,
        b'{"amount": ' + b"9" * 5_000 + b"}",
    ],
)
def test_a_line_that_is_no_row_is_a_fault_of_its_own(tmp_path: Path, line: bytes) -> None:
    """The lines around it are read."""
    path = tmp_path / "rows.ndjson"
    good = json.dumps(GRANT).encode()
    path.write_bytes(b"\n".join([good, line, good]))
    before, bad, after = read_file(path, Format.NDJSON, {})
    assert before.fields == after.fields == GRANT
    assert isinstance(bad.fields, BadRow)
    assert bad.line == 2


@pytest.mark.parametrize("cells", ["u-1,1,2", "u-1", '"u-1" x,1', "u-1,1.0"])
def test_a_line_of_csv_with_wrong_cells_is_a_fault(tmp_path: Path, cells: str) -> None:
    """Too many, too few, badly quoted, or no whole number."""
    path = tmp_path / "rows.csv"
    path.write_text(f"account_id,balance\n{cells}\nu-2,1\n")
    bad, good = read_file(path, Format.CSV, {})
    assert isinstance(bad.fields, BadRow)
    assert (bad.line, good.line) == (2, 3)


def test_a_file_that_cannot_be_read_at_all_is_refused(tmp_path: Path) -> None:
    """Missing, of no known kind, or with a line without end."""
    with pytest.raises(RefusedToStart):
        list(read_file(tmp_path / "none.csv", Format.CSV, {}))
    with pytest.raises(RefusedToStart):
        format_of(tmp_path / "rows.xlsx", None)
    path = tmp_path / "long.ndjson"
    path.write_bytes(b" " * 100_000)
    with pytest.raises(RefusedToStart, match="longer"):
        list(read_file(path, Format.NDJSON, {}))


def staged(tmp_path: Path, *rows: dict[str, Any]) -> tuple[list[Fault], list[Staged], Totals]:
    """Put rows in order and check them."""
    path = tmp_path / "rows.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)))
    plan = Plan(file=path, file_format=Format.NDJSON, renames={}, url="", api_key="")
    with Staging(plan.state, plan.fingerprint(), resume=False) as staging:
        faults = stage(plan, staging)
        return faults, list(staging.steps(only_open=True)), staging.totals()


def test_a_history_is_put_in_order(tmp_path: Path) -> None:
    """By account, then by time, then by line; an opening balance comes first."""
    opening = {"account_id": "u-1", "balance": 1}
    other = {**GRANT, "account_id": "u-0", "id": "t-0"}
    faults, rows, totals = staged(tmp_path, REFUND, DEBIT, GRANT, opening, other)
    assert faults == []
    assert [row.line for row in rows] == [5, 4, 3, 2, 1]
    assert totals == Totals(rows=5, accounts=2, granted=21, refunded=4, taken=4)
    (state,) = tmp_path.glob("*.import")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600  # it says as much as the file


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([GRANT, {**GRANT, "amount": 3}], (2, "the same as on line 1")),
        ([GRANT, {**DEBIT, "account_id": "u-2", "id": "t-1"}], (2, "the same as on line 1")),
        ([{"account_id": "a", "balance": 1}] * 2, (2, "the same as on line 1")),
        ([GRANT, {**DEBIT, "amount": 11}], (2, "is at -1 after it")),
        ([DEBIT, {**GRANT, "at": "2025-01-01T00:00:00Z"}], (1, "is at -4 after it")),
        ([GRANT, DEBIT, {**REFUND, "amount": 5}], (3, "more is refunded")),
        ([GRANT, DEBIT, REFUND, {**REFUND, "id": "t-4"}], (4, "more is refunded")),
        ([GRANT, REFUND], (2, "no earlier debit")),
        ([GRANT, {**REFUND, "refund_of": "t-1"}], (2, "no earlier debit")),
        ([GRANT, {**DEBIT, "at": "2025-01-01T00:00:00Z"}, REFUND], (3, "no earlier debit")),
        ([GRANT, {**DEBIT, "type": "expiry"}, REFUND], (3, "no earlier debit")),
        ([GRANT, DEBIT, {**REFUND, "account_id": "u-2"}], (3, "no earlier debit")),
        ([GRANT, {**GRANT, "id": "t-9", "colour": "red"}], (2, "--map colour=")),
    ],
)
def test_a_history_that_cannot_have_been_names_the_line(
    tmp_path: Path, rows: list[dict[str, Any]], fault: tuple[int, str]
) -> None:
    """Ids that come twice, accounts below zero, refunds of nothing or of too much."""
    faults, _, _ = staged(tmp_path, *rows)
    assert [found.line for found in faults] == [fault[0]]
    assert fault[1] in faults[0].detail


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    """The file is put in order beside itself, or the import does not start."""
    path = tmp_path / "rows.ndjson"
    path.write_text(json.dumps(GRANT))
    plan = Plan(file=path, file_format=Format.NDJSON, renames={}, url="", api_key="")
    (plan.state / "in the way").mkdir(parents=True)
    with pytest.raises(RefusedToStart, match="import"):
        asyncio.run(run_import(plan))
    with pytest.raises(RefusedToStart, match="none"):
        asyncio.run(run_import(replace(plan, file=tmp_path / "none")))


def numbered(account_id: str, changes: list[int]) -> Iterator[Staged]:
    """Rows of one account."""
    for at, change in enumerate(changes):
        yield Staged(at, account_id, at, change, None, b"{}")


def test_a_batch_holds_nothing_that_waits_for_another_of_it() -> None:
    """Credits and debits of an account never meet in one batch, and keep their order."""
    rows = [*numbered("a", [5, 5, -3, -3, 2, -1]), *numbered("b", [7, -7])]
    queue = Queue(iter(rows))
    batches = []
    while batch := queue.take():
        batches.append([(row.account_id, row.change) for row in batch])
    assert batches == [
        [("a", 5), ("a", 5), ("b", 7)],
        [("a", -3), ("a", -3), ("b", -7)],
        [("a", 2)],
        [("a", -1)],
    ]


def test_rows_without_an_answer_come_again_before_what_follows_them() -> None:
    """And those of an account that stopped never do; they are counted."""
    queue = Queue(numbered("a", [5, 5, -3, 1]))
    first = queue.take()
    queue.put_back(first[1:])
    assert queue.take() == first[1:]
    assert [row.change for row in queue.take()] == [-3]
    queue.stop("a")
    assert queue.take() == []
    assert queue.held_back == 1


def test_long_histories_go_out_in_batches_that_the_ledger_takes() -> None:
    """At most 1,000 commands, and never more than fit into a body."""
    queue = Queue(numbered("a", [1] * 2_500))
    assert [len(queue.take()) for _ in range(4)] == [1_000, 1_000, 500, 0]
    wide = [row._replace(command=b" " * 60_000) for row in numbered("a", [1] * 20)]
    queue = Queue(iter(wide))
    assert [len(queue.take()) for _ in range(3)] == [17, 3, 0]
