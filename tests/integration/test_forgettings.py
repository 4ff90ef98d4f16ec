"""What providers are to forget: noted from the log, handed to workers, done, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from contracts.forgetting import Forgetting
from job_worker.providers.absent import AbsentProvider
from job_worker.providers.fal import FalQueue
from job_worker.providers.port import Provider
from job_worker.steps.forget import forget
from ledger_service.generations.forgetting import note_forgettings
from ledger_service.store.forgettings import TRIES_MAX
from tests.fixtures.fal_emulator import Emulator, running
from tests.fixtures.hand_worker import FAILED, REFUSED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account

PATH = "/v1/work/forgettings"
SUBMITTED = {"type": "submitted", "request_id": "req-1"}
CLAIM = {"worker": "by hand", "max": 50}
DUE_NOW = "UPDATE ledger.forgettings SET due_at = clock_timestamp() WHERE generation_id = %s"
POSITION = "SELECT position FROM ledger.projections WHERE name = 'forgettings'"

pytestmark = pytest.mark.slow


class Desk:
    """One generation, and everybody around it."""

    def __init__(self, ledger: LiveLedger) -> None:
        self.ledger = ledger
        self.worker = HandWorker(ledger.worker)
        self.account_id = new_account()
        ledger.caller.grant(self.account_id, 100)
        body = {
            "account_id": self.account_id,
            "model": "veo-3.1-lite",
            "input": {"prompt": "a boat"},
        }
        ordered = expect(202, ledger.caller.post("/v1/generations", body))
        self.generation_id = str(ordered["generation"]["generation_id"])

    def claim(self) -> Any:
        """The next step, due or not."""
        self.execute("UPDATE ledger.jobs SET due_at = clock_timestamp() WHERE generation_id = %s")
        return self.worker.claim(self.generation_id)

    def submit(self) -> Any:
        """Have the provider take it; returns the claim that follows."""
        return expect(200, self.worker.report(self.claim(), SUBMITTED))["next_claim"]

    def end(self, claim: Any) -> None:
        """It fails."""
        expect(200, self.worker.report(claim, FAILED))

    def delete(self) -> None:
        """Its owner wants to see nothing of it any more; the clockwork reads of it in the log."""
        path = f"/v1/generations/{self.generation_id}"
        expect(200, self.ledger.caller.http.delete(path))
        self.follow()

    def follow(self) -> None:
        """The clockwork follows the log to its end."""
        asyncio.run(_follow(self.ledger.database.url))

    def execute(self, query: str) -> None:
        """Change a row of the generation's."""
        with self.ledger.database.connect() as connection:
            connection.execute(query, [self.generation_id])

    def forgetting(self) -> Any:
        """What a worker is handed of it; those of other tests are passed over."""
        while items := expect(200, self.ledger.worker.post(PATH, CLAIM, key=""))["items"]:
            for item in items:
                if item["generation_id"] == self.generation_id:
                    return item
        return None

    def tell(self, fence: int, outcome: str, reason: str | None = None) -> bool:
        """A worker says how it went; whether that counted."""
        body = {"fence": fence, "outcome": outcome, "reason": reason}
        path = f"{PATH}/{self.generation_id}"
        return bool(expect(200, self.ledger.worker.post(path, body, key=""))["accepted"])

    def fate(self) -> tuple[str | None, str | None]:
        """What became of the wish, and why."""
        query = "SELECT outcome, reason FROM ledger.forgettings WHERE generation_id = %s"
        with self.ledger.database.connect() as connection:
            (row,) = connection.execute(query, [self.generation_id]).fetchall()
        return row[0], row[1]


async def _follow(url: str) -> None:
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, cursor_factory=psycopg.AsyncRawCursor
    )
    async with connection:
        before, after = -1, 0
        while before != after:
            before = after
            await note_forgettings(connection)
            row = await (await connection.execute(POSITION)).fetchone()
            assert row is not None
            after = row[0]


@pytest.fixture
def desk(ledger: LiveLedger) -> Desk:
    """A generation that was just ordered."""
    return Desk(ledger)


def test_what_was_deleted_is_to_be_forgotten_once(desk: Desk) -> None:
    """Handed to one worker at a time, until one of them has done it."""
    desk.end(desk.submit())
    desk.follow()
    assert desk.forgetting() is None, "nobody wants that"
    desk.delete()
    handed = desk.forgetting()
    assert (handed["provider"], handed["request_ids"]) == ("fal", ["req-1"])
    assert desk.forgetting() is None, "somebody is at it"
    assert not desk.tell(handed["fence"] + 1, "forgotten")
    assert desk.tell(handed["fence"], "forgotten")
    assert not desk.tell(handed["fence"], "forgotten")
    with desk.ledger.database.connect() as connection:
        connection.execute("UPDATE ledger.projections SET position = 0 WHERE name = 'forgettings'")
    desk.delete()
    assert desk.forgetting() is None
    assert desk.fate() == ("forgotten", None)


def test_what_is_under_way_is_forgotten_after_its_end(desk: Desk) -> None:
    """The provider refuses to delete what it works on."""
    claim = desk.submit()
    desk.delete()
    assert desk.forgetting() is None
    desk.end(claim)
    assert desk.forgetting()["request_ids"] == ["req-1"]


def test_what_is_of_a_person_who_was_erased_is_forgotten(desk: Desk) -> None:
    """Whoever destroys their key, and whatever was asked for before."""
    desk.end(desk.submit())
    desk.execute(
        "DELETE FROM ledger.subject_keys WHERE owner ="
        " (SELECT owner FROM ledger.jobs WHERE generation_id = %s)"
    )
    handed = desk.forgetting()
    assert handed["request_ids"] == ["req-1"]
    assert desk.tell(handed["fence"], "forgotten")
    desk.delete()
    assert desk.forgetting() is None


def test_a_request_that_becomes_known_late_is_forgotten_too(desk: Desk) -> None:
    """There was nothing to forget, and then there was; an older try says nothing of it."""
    claim = desk.claim()
    desk.delete()
    expect(200, desk.worker.report(claim, REFUSED))
    assert desk.forgetting() is None
    assert desk.fate() == ("forgotten", "nothing_there")
    assert expect(200, desk.worker.report(claim, SUBMITTED))["accepted"]
    desk.follow()
    handed = desk.forgetting()
    assert handed["request_ids"] == ["req-1"]
    assert not desk.tell(handed["fence"] - 1, "forgotten")
    assert desk.fate() == (None, None)


def test_what_cannot_be_done_is_given_up_and_named(desk: Desk) -> None:
    """After so many tries; no credits and no events depend on it."""
    desk.end(desk.submit())
    desk.delete()
    balance = desk.ledger.caller.balance(desk.account_id)
    for _ in range(TRIES_MAX):
        handed = desk.forgetting()
        assert desk.tell(handed["fence"], "failed", "http_403")
        assert desk.forgetting() is None, "not before a pause"
        desk.execute(DUE_NOW)
    desk.follow()
    assert desk.forgetting() is None
    assert desk.fate() == ("given_up", "http_403")
    named = expect(200, desk.ledger.worker.get(PATH))
    assert named["count"] >= 1
    (item,) = [it for it in named["items"] if it["generation_id"] == desk.generation_id]
    assert item["reason"] == "http_403"
    assert expect(200, desk.ledger.worker.get(PATH, until="2020-01-01T00:00:00Z"))["count"] == 0
    assert desk.ledger.caller.balance(desk.account_id) == balance


def test_a_provider_that_forgets_nothing_is_not_asked_again(desk: Desk) -> None:
    """What it keeps is named at once."""
    desk.end(desk.submit())
    desk.delete()
    assert desk.tell(desk.forgetting()["fence"], "impossible", "provider_forgets_nothing")
    desk.execute(DUE_NOW.replace("WHERE", "WHERE outcome IS NULL AND"))
    assert desk.forgetting() is None
    assert desk.fate() == ("given_up", "provider_forgets_nothing")


@pytest.mark.parametrize("body", [{}, {"fence": 1, "outcome": "gone"}, {"fence": "x"}])
def test_a_senseless_report_changes_nothing(desk: Desk, body: dict[str, Any]) -> None:
    """It is refused; a generation that nobody knows has no wish to settle."""
    answer = desk.ledger.worker.post(f"{PATH}/{desk.generation_id}", body, key="")
    assert expect(400, answer)["code"] == "validation_failed"
    assert not desk.tell(1, "forgotten")


def test_a_generation_that_cannot_be_read_costs_the_others_no_try(ledger: LiveLedger) -> None:
    """They are handed out all the same."""
    bad, good = Desk(ledger), Desk(ledger)
    for each in (bad, good):
        each.end(each.submit())
        each.delete()
    turn = "UPDATE ledger.heads SET snapshot_version = snapshot_version + %s WHERE stream LIKE %s"
    with ledger.database.connect() as connection:
        connection.execute(turn, [90, f"%/{bad.generation_id}"])
    try:
        assert good.forgetting()["request_ids"] == ["req-1"]
    finally:
        with ledger.database.connect() as connection:
            connection.execute(turn, [-90, f"%/{bad.generation_id}"])
    assert bad.forgetting() is None, "its next try is not yet due"


# --- the worker's side ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider that completes a job within its submit."""
    with running(tmp_path_factory.mktemp("fal"), "--job-seconds", "0", "--key", "id:one") as made:
        yield made


def told(fal: Emulator, *request_ids: str, admin_key: str = "") -> tuple[str, str | None]:
    """What a worker says after it has had the provider forget these."""
    forgetting = Forgetting(
        generation_id="gen_1", fence=1, provider="fal", request_ids=tuple(request_ids)
    )

    async def ask() -> tuple[str, str | None]:
        queue = FalQueue(
            queue_url=fal.url, api_url=f"{fal.url}/v1", key="id:one", admin_key=admin_key
        )
        try:
            report = await forget(forgetting, queue)
        finally:
            await queue.close()
        return report.outcome, report.reason

    return asyncio.run(ask())


def is_kept(fal: Emulator, prompt: str) -> bool:
    """Whether the provider still knows what was sent to it."""
    return bool(fal.accepted(prompt))


def test_the_provider_forgets_and_may_be_asked_again(fal: Emulator) -> None:
    """Input and output go; what is gone, or never was there, is no trouble."""
    job = fal.submit("a boat to forget")
    assert fal.result(job).status_code == 200
    for _ in range(2):
        assert told(fal, job["request_id"], "never-seen") == ("forgotten", None)
    assert not is_kept(fal, "a boat to forget")
    assert fal.http.get(job["response_url"]).status_code == 404


def test_all_is_forgotten_that_can_be(fal: Emulator) -> None:
    """What the provider still works on keeps the wish open, and does not keep the others."""
    stuck, ended = fal.submit("[[fal:stuck]]"), fal.submit("another boat to forget")
    fal.completed(ended)
    ids = (stuck["request_id"], ended["request_id"])
    assert told(fal, *ids) == ("failed", "http_400")
    assert not is_kept(fal, "another boat to forget")
    fal.http.put(stuck["cancel_url"])
    fal.completed(stuck)
    assert told(fal, *ids) == ("forgotten", None)


def test_a_key_without_the_right_to_delete_is_named(fal: Emulator) -> None:
    """The administrator's key is sent where there is one."""
    job = fal.submit("a boat that stays")
    assert told(fal, job["request_id"], admin_key="id:nobody") == ("failed", "http_401")
    assert is_kept(fal, "a boat that stays")


@pytest.mark.parametrize(
    ("provider", "outcome"), [(AbsentProvider(), "impossible"), (None, "failed")]
)
def test_not_every_provider_forgets(provider: Provider | None, outcome: str) -> None:
    """It is an offer of the port's, and no duty; one that is unknown here may be known later."""
    forgetting = Forgetting(generation_id="gen_1", fence=7, provider="x", request_ids=("req-1",))
    report = asyncio.run(forget(forgetting, provider))
    assert (report.fence, report.outcome) == (7, outcome)
