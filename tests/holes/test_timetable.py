"""Hole 25: what is to happen by the clock happens, and what is not to happen does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from ledger_service.generations.doorbell import Doorbell
from tests.fixtures.live import LiveLedger, environment, expect, new_account, serve
from tests.fixtures.services import TEMPLATE, Cluster, Process, Processes, Valkey, scratch_folder
from tests.fixtures.stack import eventually

pytestmark = pytest.mark.slow

DEADLINE_SECONDS = 3


class Timed(NamedTuple):
    """A ledger with a clockwork and a Valkey, and nobody who works."""

    ledger: LiveLedger
    clockwork: Process
    valkey: Valkey


@pytest.fixture(scope="module")
def timed(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timed]:
    """For the tests of this module."""
    processes = Processes(tmp_path_factory.mktemp("timed"))
    database = postgres.new_database(TEMPLATE)
    with scratch_folder() as folder, pytest.MonkeyPatch.context() as environ:
        environ.setenv("GENERATION_DEADLINE_SECONDS", str(DEADLINE_SECONDS))
        valkey = Valkey(folder)
        ledger = serve(processes, database)  # it cannot ring: only the clockwork knows the Valkey
        env = {**environment(database, processes.folder), "VALKEY_URL": valkey.url}
        clockwork = processes.start("ledger_service", "clockwork", env=env, name="clockwork")
        yield Timed(ledger, clockwork, valkey)
        ledger.close()
        processes.end_all()
        valkey.process.stop()
    postgres.drop(database)


def grant_for_a_moment(ledger: LiveLedger, account_id: str) -> None:
    """Credits that expire within a second."""
    soon = datetime.now(UTC) + timedelta(seconds=0.7)
    ledger.caller.grant(account_id, 30, expires_at=soon.isoformat())


def order(ledger: LiveLedger, account_id: str) -> str:
    """A generation that nobody will work on."""
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    reply = expect(202, ledger.caller.post("/v1/generations", body))
    return str(reply["generation"]["generation_id"])


def entry_types(ledger: LiveLedger, account_id: str) -> list[Any]:
    """What happened on an account, the newest first."""
    page = expect(200, ledger.caller.get(f"/v1/accounts/{account_id}/entries"))
    return [entry["type"] for entry in page["items"]]


def is_quiet(timed: Timed) -> bool:
    """The clockwork runs, and has nothing to complain about."""
    complaints = ("Traceback", "Error", "does not answer")
    said = timed.clockwork.text()
    return timed.clockwork.popen.poll() is None and not any(word in said for word in complaints)


def test_hole_25_expired_credits_are_booked(timed: Timed) -> None:
    """A job upserted without the unique key that it needed, so it failed at every run."""
    account_id = new_account()
    grant_for_a_moment(timed.ledger, account_id)
    eventually(lambda: entry_types(timed.ledger, account_id)[0] == "credits_expired", "the sweep")
    balance = timed.ledger.caller.balance(account_id)
    assert (balance["posted"], balance["pending_expiry"]) == (0, 0)
    assert is_quiet(timed)


def test_hole_25_due_work_is_rung(timed: Timed) -> None:
    """A job read a table that no migration made, so it failed at every run."""
    account_id, bell = new_account(), Doorbell(timed.valkey.url)
    timed.ledger.caller.grant(account_id, 20)
    before = bell.backlog()
    order(timed.ledger, account_id)
    eventually(lambda: bell.backlog() > before, "a ring")
    assert is_quiet(timed)


def test_hole_25_overdue_work_is_ended(timed: Timed) -> None:
    """The sweep looked at finished jobs only: a stuck one was charged for ever."""
    account_id = new_account()
    timed.ledger.caller.grant(account_id, 20)
    generation_id = order(timed.ledger, account_id)
    # A worker asks for work, so it is not for want of workers that nothing happens.
    none = timed.ledger.worker.post("/v1/generations/gen_none/claims", {"worker": "w"}, key="")
    assert none.status_code == 404
    path = f"/v1/generations/{generation_id}"

    def ended() -> Any:
        return expect(200, timed.ledger.caller.get(path))["finished_at"]

    eventually(ended, "the deadline")
    generation = expect(200, timed.ledger.caller.get(path))
    assert (generation["status"], generation["refunded"]) == ("expired", 20)
    assert timed.ledger.caller.balance(account_id)["available"] == 20
    assert is_quiet(timed)


def test_hole_25_what_was_paid_for_stays(timed: Timed) -> None:
    """The purge of idle accounts, had it worked, would have deleted paid balances."""
    idle, busy = new_account(), new_account()
    timed.ledger.caller.grant(idle, 500, source="purchase")
    grant_for_a_moment(timed.ledger, busy)
    eventually(lambda: entry_types(timed.ledger, busy)[0] == "credits_expired", "the sweep")
    assert entry_types(timed.ledger, idle) == ["credits_granted", "account_opened"]
    assert timed.ledger.caller.balance(idle)["available"] == 500


def test_hole_25_one_bad_account_does_not_stop_the_rest(timed: Timed) -> None:
    """One job that failed took its whole run with it, for everybody, at every run."""
    bad, good = new_account(), new_account()
    with timed.ledger.database.connect() as connection:
        timed.ledger.caller.grant(bad, 1)
        connection.execute(
            "UPDATE ledger.heads SET snapshot = 'nonsense', next_expiry_at = now() "
            "WHERE owner = %s",
            [f"demo/{bad}"],
        )
    timed.ledger.caller.grant(good, 20)
    generation_id = order(timed.ledger, good)
    grant_for_a_moment(timed.ledger, good)
    timed.ledger.worker.post("/v1/generations/gen_none/claims", {"worker": "w"}, key="")
    eventually(lambda: "credits_expired" in entry_types(timed.ledger, good), "the sweep")
    path = f"/v1/generations/{generation_id}"
    eventually(
        lambda: expect(200, timed.ledger.caller.get(path))["status"] == "expired", "the deadline"
    )
    assert timed.clockwork.popen.poll() is None


def test_hole_25_one_failing_job_does_not_stop_the_others(timed: Timed) -> None:
    """Half of the jobs failed at every run, and nobody noticed what else did not happen."""
    account_id, database = new_account(), timed.ledger.database
    with database.connect_owner() as connection:
        connection.execute(
            "CREATE TRIGGER no_ring BEFORE UPDATE ON ledger.jobs FOR EACH ROW "
            "WHEN (new.rings > old.rings) EXECUTE FUNCTION ledger.refuse_change()"
        )
    timed.ledger.caller.grant(account_id, 20)
    generation_id = order(timed.ledger, account_id)
    grant_for_a_moment(timed.ledger, account_id)
    timed.ledger.worker.post("/v1/generations/gen_none/claims", {"worker": "w"}, key="")
    path = f"/v1/generations/{generation_id}"
    eventually(
        lambda: expect(200, timed.ledger.caller.get(path))["status"] == "expired", "the deadline"
    )
    eventually(lambda: "credits_expired" in entry_types(timed.ledger, account_id), "the sweep")
    assert "InsufficientPrivilege" in timed.clockwork.text()
    with database.connect_owner() as connection:
        connection.execute("DROP TRIGGER no_ring ON ledger.jobs")
