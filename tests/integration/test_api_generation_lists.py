"""An account's generations with filters, and what people reported, over live HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.limits import FLAGS_MAX
from ledger_service.audit.replay import replay
from ledger_service.domain.ids import first_id, milliseconds_of
from ledger_service.store.statements import load_statements
from tests.fixtures.hand_worker import FAILED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.services import Database
from tests.fixtures.tenants import new_tenant
from tests.fixtures.worlds import NOON
from tests.integration.test_work_fairness import fill, plan_of

pytestmark = pytest.mark.slow

LITE, PRO = "veo-3.1-lite", "veo-3.1"
GENERATIONS = load_statements("generations")
TEXT = "This is my daughter's face."


class Shelf:
    """An account of a tenant of its own, with five generations: the newest first in `ids`."""

    def __init__(self, ledger: LiveLedger) -> None:
        self.ledger, self.caller = ledger, new_tenant(ledger)
        self.account_id = new_account()
        self.caller.grant(self.account_id, 10_000)
        self.made = [self.order(model) for model in (LITE, PRO, LITE, PRO, LITE)][::-1]
        self.ids = [it["generation_id"] for it in self.made]
        worker = HandWorker(ledger.worker)
        for generation_id in (self.ids[0], self.ids[1]):
            expect(200, worker.report(worker.claim(generation_id), FAILED))

    def order(self, model: str) -> Any:
        """One more."""
        body = {"account_id": self.account_id, "model": model, "input": {"prompt": "a boat"}}
        return expect(202, self.caller.post("/v1/generations", body))["generation"]

    def found(self, **query: Any) -> list[int]:
        """Which of them a list has, over its pages of two, by their places in `ids`."""
        ids: list[str] = []
        asked: dict[str, Any] = {"account_id": self.account_id, "limit": 2, **query}
        asked = {name: value for name, value in asked.items() if value is not None}
        while True:
            page = expect(200, self.caller.get("/v1/generations", **asked))
            ids += [it["generation_id"] for it in page["items"]]
            if page["next_cursor"] is None:
                return [self.ids.index(generation_id) for generation_id in ids]
            asked["cursor"] = page["next_cursor"]

    def flag(self, number: int, reason: str = "other", **more: Any) -> Any:
        """Report one of them."""
        key = more.pop("key", None)
        path = f"/v1/generations/{self.ids[number]}/flags"
        return self.caller.post(path, {"reason": reason, **more}, key=key)


@pytest.fixture(scope="module")
def shelf(ledger: LiveLedger) -> Shelf:
    """Read alone."""
    return Shelf(ledger)


@pytest.fixture
def own(ledger: LiveLedger) -> Shelf:
    """One of a test's own."""
    return Shelf(ledger)


def test_each_filter_finds_its_own(shelf: Shelf) -> None:
    """Alone and together, over as many pages as it takes, newest first."""
    at = [it["created_at"] for it in shelf.made]
    assert shelf.found() == [0, 1, 2, 3, 4]
    assert shelf.found(status="failed") == [0, 1]
    assert shelf.found(status="requested") == [2, 3, 4]
    assert shelf.found(model=LITE) == [0, 2, 4]
    assert shelf.found(model=LITE, status="requested") == [2, 4]
    assert shelf.found(model="no-such") == []
    assert shelf.found(**{"from": at[3]}) == [0, 1, 2, 3]
    assert shelf.found(to=at[1]) == [2, 3, 4]
    assert shelf.found(**{"from": at[3], "to": at[0]}) == [1, 2, 3]
    assert shelf.found(**{"from": at[4], "to": at[0]}, model=PRO, status="failed") == [1]
    assert shelf.found(**{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}) == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert shelf.found(to="1960-01-01T00:00:00Z") == []


def test_a_list_belongs_to_an_account_unless_it_is_of_reports(shelf: Shelf) -> None:
    """Nobody sees another tenant's; a cursor is good for its own filters alone."""
    missing = expect(400, shelf.caller.get("/v1/generations"))
    assert missing["errors"][0]["pointer"] == "?account_id"
    asked: dict[str, Any] = {"account_id": shelf.account_id, "limit": 1}
    cursor = expect(200, shelf.caller.get("/v1/generations", **asked))["next_cursor"]
    other = shelf.caller.get("/v1/generations", **asked, model=PRO, cursor=cursor)
    assert expect(400, other)["code"] == "cursor_invalid"
    theirs = shelf.ledger.other.get("/v1/generations", account_id=shelf.account_id)
    assert expect(404, theirs)["code"] == "account_not_found"
    assert expect(403, shelf.ledger.reader.get("/v1/generations", flagged="true"))


def test_a_report_shows_on_the_generation_and_in_the_operators_list(own: Shelf) -> None:
    """Its words are for operators alone; the list is of the account, or of the whole tenant."""
    assert own.found(flagged="true") == own.found(flagged="true", account_id=None) == []
    reply = expect(201, own.flag(3, "private_person", text=TEXT, key="flag"))
    later = expect(201, own.flag(3, "sexual"))
    expect(201, own.flag(0))
    shown = expect(200, own.caller.get(f"/v1/generations/{own.ids[3]}"))
    assert shown["flagged"] == {
        "count": 2,
        "reasons": ["private_person", "sexual"],
        "first_at": reply["recorded_at"],
        "last_at": later["recorded_at"],
    }
    assert TEXT not in str(shown)
    assert own.found(flagged="true") == own.found(flagged="true", account_id=None) == [0, 3]
    assert own.found(flagged="true", account_id=None, model=PRO, status="requested") == [3]
    told = expect(200, own.caller.get(f"/v1/generations/{own.ids[3]}/flags"))["items"]
    assert told == [later["flag"], reply["flag"]]
    assert [flag["text"] for flag in told] == [None, TEXT]
    expect(403, own.ledger.reader.get(f"/v1/generations/{own.ids[3]}/flags"))
    assert own.caller.get(f"/v1/accounts/{own.account_id}/commands/flag").json() == reply
    assert replay(own.ledger.database.url).differences == []


def test_what_was_said_in_a_report_stands_in_the_vault_alone(own: Shelf) -> None:
    """No event and no head has a word of it."""
    expect(201, own.flag(2, "illegal", text=TEXT))
    with own.ledger.database.connect() as connection:
        for column, table in (("state", "events"), ("snapshot", "heads")):
            (count,) = connection.execute(
                f"SELECT count(*) FROM ledger.{table} WHERE position(%s::bytea IN {column}) > 0",
                [TEXT.encode()],
            ).fetchone() or (None,)
            assert count == 0


def test_a_report_under_one_key_counts_once(own: Shelf) -> None:
    """Repeats get the first answer, also after the generation was deleted; another report under the
    key is refused, and so is one about what is not shown."""
    first = own.flag(2, "broken", text=TEXT, key="k")
    again = own.flag(2, "broken", text=TEXT, key="k")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert expect(422, own.flag(2, "other", key="k"))["code"] == "idempotency_key_reused"
    path = f"/v1/generations/{own.ids[2]}"
    assert expect(200, own.caller.get(path))["flagged"]["count"] == 1
    expect(200, own.caller.http.delete(path))
    assert own.flag(2, "broken", text=TEXT, key="k").content == first.content
    assert expect(404, own.flag(2))["code"] == "generation_not_found"
    assert own.found(flagged="true") == []
    foreign = own.ledger.other.post(f"{path}/flags", {"reason": "other"})
    assert expect(404, foreign)["code"] == "generation_not_found"


def test_reports_are_bounded_and_checked(own: Shelf) -> None:
    """In number, and in all that they say."""
    good = {"reason": "other"}
    for body in ({}, {"reason": "ugly"}, good | {"text": ""}, good | {"x": 1}):
        expect(400, own.caller.post(f"/v1/generations/{own.ids[0]}/flags", body))
    expect(400, own.flag(0, text="x" * 1_001))
    expect(403, own.ledger.reader.post(f"/v1/generations/{own.ids[0]}/flags", {"reason": "other"}))
    for _ in range(FLAGS_MAX):
        expect(201, own.flag(0, text="x" * 1_000))
    refused = expect(409, own.flag(0))
    assert (refused["code"], refused["limit"]) == ("limit_reached", FLAGS_MAX)


SPAN = ("", "~", 50, None, None)
LISTS: dict[str, tuple[str, list[Any]]] = {
    "page": ("jobs_pkey", []),
    "page_by_status": ("jobs_by_status", ["running"]),
    "page_by_model": ("jobs_by_model", ["m", None]),
    "page_flagged": ("jobs_flagged", ["big", None, None]),
}


@pytest.mark.parametrize("statement", LISTS)
def test_each_list_is_found_by_the_index_of_its_filter(database: Database, statement: str) -> None:
    """With the bounds of its page as conditions: what lies outside is not looked at."""
    index, values = LISTS[statement]
    fill(database, "big", 5_000, seconds_ago=600)
    with database.connect_owner(autocommit=True) as connection:
        connection.execute("UPDATE ledger.jobs SET flags = 1 WHERE generation_id LIKE '%7'")
        connection.execute("ANALYZE ledger.jobs")
        connection.execute("SET enable_seqscan = off; SET enable_hashjoin = off")
        owner = "big/account-1"
        nodes = list(plan_of(connection, GENERATIONS[statement], [owner, *SPAN, *values]))
    (scan,) = [node for node in nodes if node.get("Relation Name") == "jobs"]
    assert scan["Index Name"] == index
    assert "generation_id" in scan["Index Cond"]
    assert scan["Actual Rows"] == 50


def test_an_instant_is_a_place_among_ids() -> None:
    """The first id of a millisecond sorts after all before it, and before all of it."""
    at = milliseconds_of(NOON)
    assert first_id("gen", at - 1) < first_id("gen", at) < first_id("gen", at + 1)
    assert first_id("gen", -5) == first_id("gen", 0)
