"""The worker as its operator meets it: a real process with a real Valkey and the fal emulator."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dramatiq
import httpx
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from contracts.jobs import (
    DOORBELL_ACTOR,
    DOORBELL_QUEUE,
    PROVIDER_ACCOUNT_LOCKED,
    PROVIDER_PAUSED,
    FailedReport,
    SucceededReport,
)
from deploy.run.host import free_port
from tests.fixtures.fal_emulator import lock_account
from tests.fixtures.services import Process, Processes, Valkey
from tests.fixtures.stub_ledger import (
    WORK_KEY,
    StubJob,
    StubLedger,
    outcome_of,
    serve_stub_ledger,
)

FAL_KEY = "fal-id:fal-secret-of-tests"
REFUSED_MAX = 4 + 8
"""Submits that may meet a lock: those under way in four threads, and one probe for each pause."""
DEADLINE_SECONDS = 30.0
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger() -> Iterator[StubLedger]:
    """A ledger that only knows claims and reports."""
    with serve_stub_ledger() as stub:
        yield stub


@pytest.fixture
def fal(processes: Processes, tmp_path: Path) -> str:
    """The base URL of an emulator whose jobs complete at once."""
    ready = tmp_path / "fal.ready"
    processes.start(
        "deploy.emulators.fal",
        *("--state-dir", str(tmp_path / "fal"), "--key", FAL_KEY, "--job-seconds", "0"),
        *("--ready-file", str(ready)),
        env={},
        ready=ready.exists,
    )
    return ready.read_text().strip()


class Bench:
    """Everything around a worker, and the worker itself once it is started."""

    def __init__(self, processes: Processes, ledger: StubLedger, fal: str, folder: Path) -> None:
        self.processes = processes
        self.ledger = ledger
        self.fal = fal
        self.media = folder / "media"

    def environment(self, valkey_url: str) -> dict[str, str]:
        """The worker's settings on this bench."""
        return {
            "LEDGER_URL": self.ledger.url,
            "LEDGER_WORK_KEY": WORK_KEY,
            "VALKEY_URL": valkey_url,
            "FAL_KEY": FAL_KEY,
            "FAL_QUEUE_URL": self.fal,
            "FAL_API_URL": f"{self.fal}/v1",
            "FAL_MEDIA_HOSTS": self.fal.removeprefix("http://"),
            "STORAGE_URL": f"file://{self.media}",
            "PROVIDER_LISTING_COMPLETE": "1",
            "WORKER_PLACES": "4",
        }

    def start(self, valkey_url: str, **more: str) -> Process:
        """Start the worker, and wait until it listens."""
        env = self.environment(valkey_url) | more
        worker = self.processes.start("job_worker", env=env, name="worker")
        eventually(lambda: "ready for action" in worker.text())
        return worker

    def accepted_submits(self, job: StubJob) -> list[Mapping[str, Any]]:
        """What the provider took for this generation."""
        jobs = httpx.get(f"{self.fal}/admin/jobs", trust_env=False).json()["items"]
        return [item for item in jobs if item["tags"].get("generation") == job.generation_id]


@pytest.fixture
def bench(processes: Processes, ledger: StubLedger, fal: str, tmp_path: Path) -> Bench:
    """The worker's surroundings, ready; the worker is started by the test."""
    return Bench(processes, ledger, fal, tmp_path)


def eventually(condition: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until `condition` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def ring(valkey: Valkey, generation_id: object) -> None:
    """Ring the doorbell, as the ledger does."""
    broker = RedisBroker(url=valkey.url)  # type: ignore[no-untyped-call]
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=DOORBELL_QUEUE,
        actor_name=DOORBELL_ACTOR,
        args=(generation_id,),
        kwargs={},
        options={},
    )
    broker.enqueue(message)
    broker.client.close()


def waiting_and_dead(valkey: Valkey) -> tuple[Any, Any]:
    """How many bells have not been answered, and how many were dead letters."""
    with redis.Redis.from_url(valkey.url) as client:
        key = f"dramatiq:{DOORBELL_QUEUE}"
        return client.hlen(f"{key}.msgs"), client.zcard(f"{key}.XQ")


def nowhere() -> str:
    """The URL of a Valkey that does not run."""
    return f"redis://127.0.0.1:{free_port()}/0"


def children_of(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(part) for part in text.split()]


def is_alive(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_bell_and_four_calls_carry_an_instant_job(bench: Bench, valkey: Valkey) -> None:
    """One bell brings an instant job to its verified asset, with four calls of the ledger."""
    bench.start(valkey.url)
    job = bench.ledger.add()
    ring(valkey, job.generation_id)
    eventually(lambda: job.ended)
    assert outcome_of(job) == ("succeeded", "")
    assert job.calls <= 4
    assert isinstance(job.ended, SucceededReport)
    asset = job.ended.asset
    stored = (bench.media / asset.key).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == asset.sha256
    assert (asset.content_type, asset.size_bytes) == ("video/mp4", len(stored))
    assert (asset.duration_seconds, asset.width, asset.height) == (8.0, 320, 180)
    assert len(bench.accepted_submits(job)) == 1


def test_work_is_done_without_any_valkey(bench: Bench) -> None:
    """A Valkey that is down from the start delays work and prevents none."""
    worker = bench.start(nowhere())
    jobs = [bench.ledger.add() for _ in range(10)]
    eventually(lambda: all(job.ended for job in jobs))
    assert {outcome_of(job) for job in jobs} == {("succeeded", "")}
    assert worker.popen.poll() is None


def test_the_bell_is_heard_again_after_an_outage(bench: Bench, valkey: Valkey) -> None:
    """A worker outlives its Valkey, works on meanwhile, and hears the bell afterwards."""
    worker = bench.start(valkey.url)
    valkey.kill()
    pulled = bench.ledger.add()
    eventually(lambda: pulled.ended)
    valkey.restart()
    # Not due by the clock: only a bell brings the worker to ask for it by name.
    rung = bench.ledger.add(due_in_seconds=3600)
    ring(valkey, rung.generation_id)
    eventually(lambda: rung.calls)
    assert worker.popen.poll() is None


def test_senseless_bells_harm_nobody(bench: Bench, valkey: Valkey) -> None:
    """A bell for nothing is answered once and gone; only one that is a bug stays as dead letter."""
    bench.start(valkey.url)
    done = bench.ledger.add()
    eventually(lambda: done.ended)
    for generation_id in ("gen_unknown", "../../v1/work", done.generation_id, 7, "x" * 5000):
        ring(valkey, generation_id)
    eventually(lambda: waiting_and_dead(valkey) == (0, 2))
    job = bench.ledger.add()
    eventually(lambda: job.ended)


OUTCOMES = {
    "fail": ("failed", "internal_error"),
    "422": ("failed", "content_policy_violation"),
    "no-asset": ("failed", "no_asset"),
    "media-404": ("failed", "media_lost"),
    "media-foreign": ("failed", "media_refused"),
    "media-redirect": ("failed", "media_refused"),
    "media-wrong-type": ("failed", "media_invalid"),
    "submit-422": ("failed", "value_error"),
    "submit-429=1": ("succeeded", ""),
    "unknown-status": ("succeeded", ""),
    "result-500=2": ("succeeded", ""),
    "no-urls": ("succeeded", ""),
    "lost-submit": ("succeeded", ""),
    "reset-submit": ("succeeded", ""),
    "half-submit": ("succeeded", ""),
    "submit-502=1": ("succeeded", ""),
}
"""Each misbehaviour of the provider, and how a job must end that meets it."""


def tried_again(job: StubJob) -> bool:
    """Whether a submit certainly did not get there; one that was held back was none."""
    return any(
        isinstance(event, FailedReport) and not event.sent and event.retryable
        for event in job.events
        if getattr(event, "reason", "") != PROVIDER_PAUSED
    )


def test_every_misbehaviour_ends_in_one_outcome(bench: Bench) -> None:
    """Whatever the provider does, a job ends as it should, and is never accepted twice.

    A lost answer is found in the listing; only a submit that the listing lacks is sent again.
    """
    jobs = {name: bench.ledger.add(f"a sunset [[fal:{name}]]") for name in OUTCOMES}
    bench.start(nowhere())
    eventually(lambda: all(job.ended for job in jobs.values()), 60)
    assert {name: outcome_of(job) for name, job in jobs.items()} == OUTCOMES
    assert {len(bench.accepted_submits(job)) for job in jobs.values()} == {0, 1}
    again = {name for name, job in jobs.items() if tried_again(job)}
    assert again == {"submit-429=1", "submit-502=1"}


def test_a_locked_account_holds_submits_back_until_it_is_refilled(bench: Bench) -> None:
    """With no credits left at the provider few submits are sent, none fails for it, and what the
    provider has already goes on; refilled, all of them are done."""
    running = [bench.ledger.add("a slow boat [[fal:slow=3]]") for _ in range(3)]
    port = free_port()
    worker = bench.start(nowhere(), WORKER_METRICS_PORT=str(port))
    eventually(lambda: "health: fal closed" in worker.text())
    eventually(lambda: all(job.request_id for job in running))
    lock_account(bench.fal, locked=True)
    waiting = [bench.ledger.add() for _ in range(30)]
    eventually(lambda: all(job.attempts > 1 for job in waiting))
    eventually(lambda: all(job.ended for job in running))
    assert {outcome_of(job) for job in running} == {("succeeded", "")}
    assert {outcome_of(job) for job in waiting} == {("open", "")}
    eventually(lambda: tells_of_a_lock(bench.ledger))
    figures = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    calls = r'provider_calls_total{operation="submit",outcome="(\w+)",provider="fal"}'
    assert set(re.findall(calls, figures)) == {"answered", "refused_us"}
    assert 'steps_total{outcome="submitted",step="submit"} 3.0' in figures
    assert lock_account(bench.fal, locked=False) <= REFUSED_MAX
    eventually(lambda: all(job.ended for job in waiting), 60)
    assert {outcome_of(job) for job in waiting} == {("succeeded", "")}
    assert {len(bench.accepted_submits(job)) for job in waiting} == {1}
    changes = [line for line in worker.text().splitlines() if " fal: " in line]
    assert "open for" in changes[0]
    assert "(provider_account_locked)" in changes[0]
    assert "closed after" in changes[-1]
    assert len(changes) <= 2 * REFUSED_MAX + 2


def tells_of_a_lock(ledger: StubLedger) -> bool:
    """Whether a worker has told the ledger for certain that it is locked out."""
    seen = [provider for told in ledger.present.values() for provider in told.providers]
    return any(each.is_certain and each.reason == PROVIDER_ACCOUNT_LOCKED for each in seen)


def test_a_job_that_alone_is_refused_does_not_hold_up_the_others(bench: Bench) -> None:
    """A refusal that looks like a locked account, and is not: the job fails once that is clear."""
    refused = bench.ledger.add("a boat [[fal:submit-403]]")
    bench.start(nowhere())
    others = []
    while not refused.ended:
        others.append(bench.ledger.add())
        eventually(lambda: refused.ended or others[-1].ended)
    eventually(lambda: all(job.ended for job in others))
    assert outcome_of(refused) == ("failed", "provider_account_locked")
    assert {outcome_of(job) for job in others} == {("succeeded", "")}
    assert bench.accepted_submits(refused) == []


def test_a_cancel_is_passed_on_and_the_provider_decides(bench: Bench) -> None:
    """A stuck job that is to be cancelled ends as cancelled, by the provider's own word."""
    job = bench.ledger.add("a sunset [[fal:stuck]]")
    bench.start(nowhere())
    eventually(lambda: job.request_id)
    job.cancel_requested = True
    eventually(lambda: job.ended)
    assert outcome_of(job) == ("CancelledReport", "")


def test_facts_outlive_an_outage_of_the_ledger(bench: Bench) -> None:
    """A submit's answer that the ledger could not take at once is reported when it is back."""
    job = bench.ledger.add("a sunset [[fal:slow-submit=2]]")
    bench.start(nowhere())
    eventually(lambda: job.attempts)
    bench.ledger.outage = True
    eventually(lambda: bench.accepted_submits(job))
    time.sleep(4)
    bench.ledger.outage = False
    eventually(lambda: job.ended)
    assert outcome_of(job) == ("succeeded", "")
    assert len(bench.accepted_submits(job)) == 1


@pytest.mark.parametrize("with_valkey", [True, False])
def test_sigterm_ends_it_in_order(bench: Bench, valkey: Valkey, with_valkey: bool) -> None:
    """One SIGTERM in the middle of a step ends the worker with 0, whether or not Valkey lives."""
    worker = bench.start(valkey.url)
    job = bench.ledger.add("a sunset [[fal:lost-submit]]")
    ring(valkey, job.generation_id)
    eventually(lambda: bench.accepted_submits(job))
    if not with_valkey:
        valkey.kill()
        time.sleep(1)
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(timeout=20) == 0, worker.text()
    assert "Traceback" not in worker.text()


def test_nothing_survives_the_death_of_the_main_process(bench: Bench) -> None:
    """When the main process is killed hard, its working process ends as well."""
    worker = bench.start(nowhere())
    children = [pid for pid in children_of(worker.pid) if is_alive(pid)]
    assert children
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not any(is_alive(pid) for pid in children))


def test_the_log_holds_no_secret(bench: Bench, valkey: Valkey) -> None:
    """Keys, prompts, webhook tokens and passwords never reach the log, failures included."""
    worker = bench.start(valkey.url)
    token = "https://ledger.test/v1/webhooks/fal/token-of-a-webhook"
    prompts = ["a canary at sunset", "a canary [[fal:422]]", "a canary [[fal:media-404]]"]
    jobs = [bench.ledger.add(prompt, webhook_url=token) for prompt in prompts]
    eventually(lambda: all(job.ended for job in jobs))
    valkey.kill()
    eventually(lambda: "connection error" in worker.text())
    worker.stop()
    for secret in (FAL_KEY, WORK_KEY, "canary", "token-of-a-webhook", "valkey-of-tests"):
        assert secret not in worker.text()


def test_it_names_every_missing_setting() -> None:
    """Without its settings the worker exits with 2 and says which it lacks."""
    done = subprocess.run(
        [sys.executable, "-m", "job_worker"],
        env={"LEDGER_URL": "ftp://no"}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    named = {line.partition(":")[0].split()[0] for line in done.stderr.splitlines()}
    assert named == {"LEDGER_URL", "LEDGER_WORK_KEY", "VALKEY_URL", "FAL_KEY", "STORAGE_URL"}
