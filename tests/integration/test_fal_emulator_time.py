"""The emulator on a virtual clock: expiry, balances, outages, and all of it across restarts."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.fal_emulator import IMAGE, VIDEO, Emulator, eventually, running

HOUR_SECONDS = 3600
PRICE_PER_SECOND_USD = 0.1
OLDER_SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, gateway_request_id TEXT NOT NULL,
    owner TEXT NOT NULL, endpoint TEXT NOT NULL, app TEXT NOT NULL, input TEXT NOT NULL,
    tags TEXT NOT NULL, headers TEXT NOT NULL, origin TEXT NOT NULL, priority INTEGER NOT NULL,
    status TEXT NOT NULL, error_type TEXT, answered INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0, failed_results INTEGER NOT NULL DEFAULT 0,
    submitted_at REAL NOT NULL, start_by REAL, started_at REAL, ends_at REAL, ended_at REAL
);
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A provider whose time stands still; its jobs take ten seconds of it."""
    options = (
        *("--clock", "virtual", "--job-seconds", "10"),
        *("--concurrency", "100", "--allow-loopback-webhooks"),
    )
    with running(tmp_path_factory.mktemp("fal"), *options) as emulator:
        yield emulator


@pytest.fixture
def fal(provider: Emulator) -> Emulator:
    """The same without jobs, spending or outage; nobody knows what time it is."""
    assert provider.http.post("/admin/reset").status_code == 200
    assert provider.http.post("/admin/outage", json={"seconds": 0}).status_code == 200
    return provider


def advance(fal: Emulator, seconds: float) -> None:
    """Move the clock."""
    answer = fal.http.post("/admin/clock", params={"advance_seconds": str(seconds)})
    assert answer.status_code == 200, answer.text


def status_of(fal: Emulator, job: dict[str, Any]) -> Any:
    """The word of a job's status; NOT_FOUND when it has expired."""
    return fal.http.get(path(job, "/status")).json()["status"]


def path(job: dict[str, Any], suffix: str = "") -> str:
    """A job's path, which a restart on another port leaves as it is."""
    return f"/fal-ai/{job['status_url'].split('/')[4]}/requests/{job['request_id']}{suffix}"


# --- the clock -----------------------------------------------------------------------------------


def test_nothing_happens_until_the_clock_is_moved(fal: Emulator) -> None:
    """A job is in progress for ever, and complete the moment its time has come."""
    job = fal.submit()
    assert status_of(fal, job) == "IN_PROGRESS"
    advance(fal, 9.9)
    assert status_of(fal, job) == "IN_PROGRESS"
    advance(fal, 0.1)
    done = fal.http.get(job["status_url"]).json()
    assert (done["status"], done["metrics"]) == ("COMPLETED", {"inference_time": 10.0})


def test_a_leap_does_everything_in_its_own_order(tmp_path: Path) -> None:
    """With one runner and a leap of an hour, jobs ran one after the other, at their own times."""
    options = ("--clock", "virtual", "--job-seconds", "10", "--concurrency", "1")
    with running(tmp_path, *options) as fal:
        jobs = [fal.submit(f"number {number}") for number in range(3)]
        advance(fal, 35)
        logs = [
            fal.http.get(job["status_url"], params={"logs": "1"}).json()["logs"] for job in jobs
        ]
    ends = [log[-1]["timestamp"] for log in logs]
    starts = [log[0]["timestamp"] for log in logs]
    assert starts[1:] == ends[:-1]
    assert len(set(ends)) == 3


def test_the_clock_stands_where_it_stood_after_a_kill(fal: Emulator) -> None:
    """Time, jobs and their remaining work survive `kill -9`."""
    job = fal.submit()
    advance(fal, 6)
    before = fal.http.get("/admin/state").json()["clock"]
    fal.stop(signal.SIGKILL)
    fal.start()
    assert fal.http.get("/admin/state").json()["clock"] == before
    advance(fal, 3)
    assert status_of(fal, job) == "IN_PROGRESS"
    advance(fal, 1)
    assert status_of(fal, job) == "COMPLETED"


def test_a_slow_answer_follows_the_clock(fal: Emulator) -> None:
    """`slow-submit` counts the emulator's seconds, not the machine's."""
    with httpx.Client(base_url=fal.url, headers=fal.http.headers, trust_env=False) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            impatient.post(f"/{VIDEO}", json={"prompt": "[[fal:slow-submit=1]]"}, timeout=0.5)
        assert fal.post("[[fal:slow-submit=0]]").status_code == 200


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "1e99", "soon", ""])
def test_the_clock_takes_no_nonsense(fal: Emulator, seconds: str) -> None:
    """It never goes back, nor to the end of time."""
    before = fal.http.get("/admin/state").json()["clock"]
    answer = fal.http.post("/admin/clock", params={"advance_seconds": seconds})
    assert answer.status_code == 422
    assert fal.http.get("/admin/state").json()["clock"] == before


def test_a_real_clock_cannot_be_moved(tmp_path: Path) -> None:
    """The call says so and changes nothing."""
    with running(tmp_path) as fal:
        assert fal.http.post("/admin/clock", params={"advance_seconds": "1"}).status_code == 409
        assert fal.http.get("/admin/state").json()["clock"]["kind"] == "real"


def test_webhooks_follow_the_clock(fal: Emulator) -> None:
    """A webhook that nobody takes is tried again when the clock has passed its pause."""
    nobody = "http://127.0.0.1:9/hook"
    fal.submit("hooked", params={"fal_webhook": nobody})

    def has_tried(times: int) -> bool:
        return bool(fal.accepted("hooked")[0]["webhooks"][0]["tries"] == times)

    for times, pause_seconds in ((1, 10), (2, 1), (3, 2), (4, 4)):
        advance(fal, pause_seconds)
        eventually(partial(has_tried, times))
    advance(fal, HOUR_SECONDS)
    eventually(lambda: fal.accepted("hooked")[0]["webhooks"][0]["state"] == "failed")
    assert fal.accepted("hooked")[0]["webhooks"][0]["last_answer"] == "the result has expired"


def test_a_folder_of_an_older_emulator_is_taken_over(tmp_path: Path) -> None:
    """Columns that came later are added; the jobs of before are there, and cost what they did."""
    state = tmp_path / "state"
    state.mkdir()
    with closing(sqlite3.connect(state / "jobs.sqlite")) as database:
        database.executescript(OLDER_SCHEMA)
        for request_id, status in (("old", "IN_QUEUE"), ("older", "COMPLETED")):
            database.execute(
                "INSERT INTO jobs (request_id, gateway_request_id, owner, endpoint, app, input,"
                " tags, headers, origin, priority, status, submitted_at, ended_at)"
                " VALUES (?, 'g', 'o', 'a/b', 'a/b', '{}', '{}', '{}', 'http://x', 0, ?, 1, 2)",
                (request_id, status),
            )
        database.commit()
    with running(tmp_path, "--job-seconds", "0") as fal:
        assert fal.generate()["video"]["url"]
        old = [job for job in fal.accepted("") if job["request_id"].startswith("old")]
        assert [job["status"] for job in old] == ["COMPLETED", "COMPLETED"]
        assert [job["billable_units"] for job in old] == [4, 4]


# --- expiry --------------------------------------------------------------------------------------


def test_a_result_lives_an_hour_and_a_large_one_six_minutes(fal: Emulator) -> None:
    """From 10 KB on the short rule holds; status and result go together."""
    small, large = fal.submit("small"), fal.submit("[[fal:big-result]]")
    long_winded = fal.submit("x" * 10_000, endpoint=IMAGE)
    advance(fal, 10 + 359)
    assert {status_of(fal, job) for job in (small, large, long_winded)} == {"COMPLETED"}
    advance(fal, 1)
    assert status_of(fal, large) == status_of(fal, long_winded) == "NOT_FOUND"
    advance(fal, HOUR_SECONDS - 361)
    assert fal.http.get(small["response_url"]).status_code == 200
    advance(fal, 1)
    assert fal.http.get(small["response_url"]).json() == {"status": "NOT_FOUND"}


def test_a_stored_result_lives_longer_unless_storing_was_forbidden(tmp_path: Path) -> None:
    """`--stored-seconds` is the life of stored payloads; `X-Fal-Store-IO: 0` keeps the hour."""
    options = ("--clock", "virtual", "--job-seconds", "0", "--stored-seconds", "86400")
    with running(tmp_path, *options) as fal:
        kept = fal.submit("[[fal:big-result]]")
        private = fal.submit("private", headers={"x-fal-store-io": "0"})
        advance(fal, HOUR_SECONDS)
        assert (status_of(fal, kept), status_of(fal, private)) == ("COMPLETED", "NOT_FOUND")
        advance(fal, 86400)
        assert status_of(fal, kept) == "NOT_FOUND"


def test_media_lives_as_long_as_its_submit_said(fal: Emulator) -> None:
    """The lifecycle header's seconds, to the second; without it, for ever."""
    life = {"x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 100}'}
    jobs = [fal.submit("mortal", headers=life), fal.submit("immortal")]
    advance(fal, 10)
    mortal, immortal = (fal.http.get(job["response_url"]).json()["video"]["url"] for job in jobs)
    advance(fal, 99)
    assert fal.http.get(mortal).status_code == 200
    advance(fal, 1)
    assert fal.http.get(mortal).status_code == 404
    advance(fal, 300 * 24 * HOUR_SECONDS)
    assert fal.http.get(immortal).status_code == 200


def test_a_job_stuck_in_the_queue_meets_its_start_timeout(fal: Emulator) -> None:
    """It waits for ever, or until `X-Fal-Request-Timeout` ends it with a 504 of type user."""
    stuck = fal.submit("[[fal:stuck-in-queue]]")
    timed = fal.submit("[[fal:stuck-in-queue]]", headers={"x-fal-request-timeout": "60"})
    advance(fal, 59)
    assert status_of(fal, stuck) == status_of(fal, timed) == "IN_QUEUE"
    advance(fal, 1)
    answer = fal.http.get(timed["response_url"])
    assert (answer.status_code, answer.json()["error_type"]) == (504, "request_timeout")
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    advance(fal, 24 * HOUR_SECONDS)
    assert status_of(fal, stuck) == "IN_QUEUE"
    assert fal.http.put(stuck["cancel_url"]).status_code == 202
    assert status_of(fal, stuck) == "COMPLETED"


def test_a_job_may_fall_back_into_the_queue_once(fal: Emulator) -> None:
    """IN_PROGRESS, IN_QUEUE under a new gateway_request_id, IN_PROGRESS, COMPLETED."""
    job = fal.submit("[[fal:regress=5]]")
    seen = [fal.http.get(job["status_url"]).json()]
    for seconds in (10, 5, 10):
        advance(fal, seconds)
        seen.append(fal.http.get(job["status_url"]).json())
    words = ["IN_PROGRESS", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert [status["status"] for status in seen] == words
    gateways = [status["gateway_request_id"] for status in seen]
    assert gateways[0] == job["gateway_request_id"] != gateways[1]
    assert gateways[1:] == [gateways[1]] * 3
    assert {status["request_id"] for status in seen} == {job["request_id"]}


# --- the balance ---------------------------------------------------------------------------------


def balance(fal: Emulator, key: str = "id:one") -> float:
    """What a key has left, as the platform API says."""
    answer = fal.http.get(
        "/v1/account/billing",
        params={"expand": "credits"},
        headers={"authorization": f"Key {key}"},
    )
    return float(answer.json()["credits"]["current_balance"])


def test_an_empty_balance_locks_a_key_out(tmp_path: Path) -> None:
    """Success costs, failure does not; once nothing is left a submit is a 403 and no job."""
    price = 8 * PRICE_PER_SECOND_USD
    with running(tmp_path, "--balance-usd", "1", "--job-seconds", "0") as fal:
        stated = fal.http.get("/v1/models/pricing", params={"endpoint_id": VIDEO}).json()
        assert stated["prices"][0]["unit_price"] == PRICE_PER_SECOND_USD
        fal.submit("[[fal:fail]]")
        assert balance(fal) == 1
        fal.submit("paid")
        assert balance(fal) == pytest.approx(1 - price)
        fal.submit("overdrawn")
        assert balance(fal) == pytest.approx(1 - 2 * price)
        refused = fal.post("locked")
        assert refused.status_code == 403
        assert refused.json()["detail"].startswith("User is locked. Reason: Exhausted balance.")
        assert fal.accepted("locked") == []
        assert balance(fal, "id:two") == 1
        fal.stop(signal.SIGKILL)
        fal.start()
        assert fal.post("still locked").status_code == 403
        assert fal.http.post("/admin/balance", json={"usd": 5}).status_code == 200
        assert (balance(fal), fal.post("refilled").status_code) == (5, 200)


def test_what_runs_is_finished_and_billed_below_zero(fal: Emulator) -> None:
    """The lock is at the door alone."""
    job = fal.submit("running")
    fal.http.post("/admin/balance", json={"usd": 0})
    assert fal.post("too late").status_code == 403
    advance(fal, 10)
    assert fal.http.get(job["response_url"]).status_code == 200
    assert balance(fal) == pytest.approx(-8 * PRICE_PER_SECOND_USD)


# --- outages -------------------------------------------------------------------------------------


def begin_outage(fal: Emulator, mode: str, seconds: float = 60) -> None:
    """Be out from now on."""
    fields = {"seconds": seconds, "mode": mode}
    assert fal.http.post("/admin/outage", json=fields).status_code == 200


def test_an_outage_refuses_everything_until_it_is_over(fal: Emulator) -> None:
    """Connections are reset, admin and health are spared, jobs go on behind it."""
    job = fal.submit()
    begin_outage(fal, "refuse")
    for method, url in (("GET", job["status_url"]), ("POST", f"/{VIDEO}"), ("GET", "/v1/meta")):
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            fal.http.request(method, url, json={"prompt": "in vain"})
    assert fal.http.get("/health").status_code == 200
    assert fal.accepted("in vain") == []
    advance(fal, 59)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        fal.http.get(job["status_url"])
    advance(fal, 1)
    assert status_of(fal, job) == "COMPLETED"


def test_an_outage_may_ignore_or_send_a_page(fal: Emulator) -> None:
    """Silence until the client gives up; or a proxy's 503 page."""
    begin_outage(fal, "ignore")
    with pytest.raises(httpx.ReadTimeout):
        fal.http.get("/v1/meta", timeout=0.5)
    begin_outage(fal, "page")
    answer = fal.http.get("/v1/meta")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html")
    assert "nginx" in answer.text
    begin_outage(fal, "page", 0)
    assert fal.http.get("/v1/meta").status_code == 200


def test_an_outage_outlives_a_restart(fal: Emulator) -> None:
    """It ends when its time is over, not when the process is."""
    begin_outage(fal, "page")
    fal.stop(signal.SIGKILL)
    fal.start()
    assert fal.http.get("/v1/meta").status_code == 503
    assert fal.http.get("/admin/state").json()["outage"]["mode"] == "page"
    advance(fal, 60)
    assert fal.http.get("/v1/meta").status_code == 200
    assert fal.http.get("/admin/state").json()["outage"] is None


def test_no_webhook_is_sent_in_an_outage(fal: Emulator) -> None:
    """It is owed, and tried when the outage is over."""
    fal.submit("hooked", params={"fal_webhook": "http://127.0.0.1:9/hook"})
    begin_outage(fal, "refuse", 100)
    advance(fal, 50)
    webhook = fal.accepted("hooked")[0]["webhooks"][0]
    assert (webhook["state"], webhook["tries"]) == ("pending", 0)
    advance(fal, 50)
    eventually(lambda: fal.accepted("hooked")[0]["webhooks"][0]["tries"] == 1)


@pytest.mark.parametrize(
    "fields", [{}, {"seconds": -1}, {"seconds": 1, "mode": "burn"}, {"seconds": 1, "x": 1}]
)
def test_an_outage_takes_no_nonsense(fal: Emulator, fields: dict[str, Any]) -> None:
    """A call that cannot be understood changes nothing."""
    assert fal.http.post("/admin/outage", json=fields).status_code == 422
    assert fal.http.get("/admin/state").json()["outage"] is None
