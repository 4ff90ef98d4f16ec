"""The worker against a provider gone wild: a seed draws a misbehaviour for every single submit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.emulators.fal.directives import parse
from deploy.run.host import free_port
from tests.fixtures.fal_emulator import Emulator, eventually, running
from tests.fixtures.services import Processes
from tests.fixtures.stub_ledger import WORK_KEY, StubJob, StubLedger, serve_stub_ledger

JOBS = 40
CHAOS = "2:0.8"
DEADLINE_SECONDS = 120.0
ENDLESS = frozenset({"stuck", "stuck-in-queue", "quiet-status", "media-truncated"})
"""What a job may meet and then stay open: this ledger sets no deadline and counts no fetches."""

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger() -> Iterator[StubLedger]:
    """A ledger that only knows claims and reports."""
    with serve_stub_ledger() as stub:
        yield stub


@pytest.fixture
def fal(tmp_path: Path) -> Iterator[Emulator]:
    """A provider that spoils four submits in five."""
    options = ("--chaos", CHAOS, "--job-seconds", "0.1", "--concurrency", "100")
    with running(tmp_path / "fal", *options) as emulator:
        yield emulator


def submits(fal: Emulator) -> list[dict[str, Any]]:
    """Every submit the provider was asked for, the last first."""
    rows: list[dict[str, Any]] = fal.http.get("/admin/state").json()["submits"]["newest"]
    return rows


def is_endless(job: StubJob, rows: list[dict[str, Any]]) -> bool:
    """Whether a job's last submit met something that never ends by itself."""
    mine = (row for row in rows if row["tags"]["generation"] == job.generation_id)
    last = next(mine, None)
    return last is not None and not ENDLESS.isdisjoint(parse(last["chaos"]).given)


def test_every_job_ends_and_none_is_submitted_twice(
    processes: Processes, ledger: StubLedger, fal: Emulator, tmp_path: Path
) -> None:
    """Each attempt is one POST and at most one job; what can end has ended."""
    jobs = [ledger.add(f"sunset number {number}") for number in range(JOBS)]
    env = {
        "LEDGER_URL": ledger.url,
        "LEDGER_WORK_KEY": WORK_KEY,
        "VALKEY_URL": f"redis://127.0.0.1:{free_port()}/0",
        "FAL_KEY": "id:one",
        "FAL_QUEUE_URL": fal.url,
        "FAL_API_URL": f"{fal.url}/v1",
        "FAL_MEDIA_HOSTS": fal.url.removeprefix("http://"),
        "STORAGE_URL": (tmp_path / "media").as_uri(),
        "PROVIDER_LISTING_COMPLETE": "1",
        "WORKER_PLACES": "8",
    }
    worker = processes.start("job_worker", env=env, name="worker")

    def all_has_come_to_rest() -> bool:
        rows = submits(fal)
        return all(job.ended or is_endless(job, rows) for job in jobs)

    eventually(all_has_come_to_rest, DEADLINE_SECONDS)
    rows = submits(fal)
    assert max(Counter(row["tags"]["attempt"] for row in rows).values()) == 1
    assert len(rows) <= sum(job.attempts for job in jobs)
    accepted = fal.http.get("/admin/jobs").json()["items"]
    assert {item["with_same_tags"] for item in accepted} == {1}
    met = {name for row in rows for name in parse(row["chaos"]).given}
    assert len(met) > 20, "too tame a seed proves nothing"
    assert sum(type(job.ended).__name__ == "SucceededReport" for job in jobs) > 10
    assert "Traceback" not in worker.text()
