"""The database dies, hangs and comes back; the ledger answers in time and recovers by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.run.child import wait_until
from ledger_service.store.readiness import KEEP_SECONDS
from tests.fixtures.live import METRICS_TOKEN, LiveLedger, expect, serve
from tests.fixtures.services import TEMPLATE, Cluster, Processes

pytestmark = pytest.mark.slow

ANSWER_SECONDS = 3.0
GUARD_SECONDS = 1.5  # the machine may be busy; the promise itself is `ANSWER_SECONDS`
RECOVERY_SECONDS = 15.0


@pytest.fixture
def own(durable_postgres: Cluster, processes: Processes) -> Iterator[LiveLedger]:
    """A ledger on a server of this test alone, with an account."""
    ledger = serve(processes, durable_postgres.new_database(TEMPLATE))
    ledger.caller.grant("before", 100)
    yield ledger
    ledger.close()


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """Stop the clock of the server and of all its backends, each of which leads its own group."""
    postmaster = cluster.process.pid
    os.kill(postmaster, signal.SIGSTOP)  # first, so that nobody new is born
    backends = [pid for pid in children_of(postmaster) if stopped(pid)]
    try:
        yield
    finally:
        for pid in (*backends, postmaster):
            os.kill(pid, signal.SIGCONT)


def children_of(parent: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in listed.split()]


def stopped(pid: int) -> bool:
    """Stop a process; false when it has ended meanwhile."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return True


def timed(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Make a call, which must be answered in time."""
    started = time.monotonic()
    answer = call()
    assert time.monotonic() - started < ANSWER_SECONDS + GUARD_SECONDS
    return answer


def calls(ledger: LiveLedger) -> list[Callable[[], httpx.Response]]:
    """Reads and writes of every kind, on an account that exists."""
    path = "/v1/accounts/before"
    caller = ledger.caller
    return [
        lambda: caller.get(path),
        lambda: caller.get(f"{path}/entries"),
        lambda: caller.get(f"{path}/grants"),
        lambda: caller.get("/v1/events"),
        lambda: caller.get(path, min_position=1),
        lambda: caller.get("/v1/keys"),
        lambda: caller.get("/health/ready"),
        lambda: ledger.nobody.http.get(
            path, headers={"Authorization": f"Bearer ck_{'0' * 16}_{'0' * 64}"}
        ),
        lambda: caller.post(f"{path}/debits", {"amount": 1, "reason": "x"}),
        lambda: caller.post(f"{path}/grants", {"amount": 1, "source": "promo"}),
        lambda: caller.http.patch(path, json={"credit_limit": 1}),
    ]


def expect_outage(ledger: LiveLedger) -> None:
    """Every call is answered with 503 in time, even when all come at once and keep coming."""
    time.sleep(KEEP_SECONDS + 0.1)  # so long readiness is taken for granted
    for _ in range(2):
        with ThreadPoolExecutor(44) as threads:
            answers = list(threads.map(timed, calls(ledger) * 4))
        for answer in answers:
            problem = expect(503, answer)
            assert problem["code"] in {"unavailable", "outcome_unknown"}
            assert answer.headers["retry-after"]
    assert timed(lambda: ledger.caller.get("/health/live")).status_code == 200
    figures = timed(lambda: ledger.holder_of(METRICS_TOKEN).get("/metrics")).text
    assert "\ncredit_ledger_database_up 0.0\n" in figures
    assert 'route="/v1/accounts/{account_id}/debits"' in figures


def expect_recovery(ledger: LiveLedger) -> None:
    """Soon everything works again, and no repeated call has counted twice."""
    wait_until(
        lambda: ledger.caller.get("/health/ready").status_code == 200, RECOVERY_SECONDS, "ready"
    )
    wait_until(
        lambda: ledger.caller.get("/v1/accounts/before").status_code == 200,
        RECOVERY_SECONDS,
        "a read",
    )
    body = {"amount": 7, "source": "promo"}

    def granted() -> bool:
        answer = ledger.caller.post("/v1/accounts/after/grants", body, key="after")
        return answer.status_code == 201

    wait_until(granted, RECOVERY_SECONDS, "a write")
    assert ledger.caller.balance("after")["posted"] == 7


def test_a_dead_database_is_survived(durable_postgres: Cluster, own: LiveLedger) -> None:
    """Killed hard: 503 at once for everything; started again: all is well, nothing was lost."""
    durable_postgres.kill()
    expect_outage(own)
    durable_postgres.restart()
    expect_recovery(own)
    assert own.caller.balance("before")["posted"] == 100


def test_a_hung_database_is_survived(durable_postgres: Cluster, own: LiveLedger) -> None:
    """Frozen, so that its connections neither answer nor break: 503 in time, then recovery."""
    with frozen(durable_postgres):
        expect_outage(own)
    expect_recovery(own)


def test_a_ledger_that_is_asked_to_end_finishes_its_work(own: LiveLedger) -> None:
    """SIGTERM: long polls come back, writes under way are answered, and the exit is clean."""
    with ThreadPoolExecutor(1) as threads:
        poll = threads.submit(own.caller.get, "/v1/events", after=10**6, wait_seconds=30)
        time.sleep(0.5)
        started = time.monotonic()
        status = own.process.stop()
        assert poll.result().status_code == 200
    assert status == 0
    assert time.monotonic() - started < 10
