"""What a model says while it works: from the provider's status to those who watch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from contracts.jobs import Claim, ClaimedAttempt, Step
from contracts.limits import LOG_LINES_MAX
from job_worker.providers.fal import LOGS_MAX_BYTES, FalQueue
from job_worker.providers.port import Status
from tests.fixtures.hand_worker import FAILED, HandWorker
from tests.fixtures.live import LiveLedger, expect, new_account
from tests.fixtures.serving import QuietHandler, serving

LINE = {"message": "painting a paper boat", "level": "INFO", "at": "2030-01-02T03:04:05Z"}

pytestmark = pytest.mark.slow


@contextmanager
def provider_whose_model_says(message: str) -> Iterator[str]:
    """A queue with a running job; its log is told to those who ask for it."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            """The status."""
            asked = parse_qs(urlsplit(self.path).query)["logs"] == ["1"]
            logs = [{"message": message}] if asked else None
            body = {"status": "IN_PROGRESS", "queue_position": 0, "logs": logs}
            self.reply(202, msgspec.json.encode(body))

    with serving(Handler) as host:
        yield f"http://{host}"


def status_at(url: str) -> Status:
    """What the adapter makes of the status."""
    now = datetime.now(UTC)
    attempt = ClaimedAttempt(
        attempt_id="att_1", number=1, started_at=now, request_id="req-1", urls=None
    )
    claim = Claim(
        generation_id="gen_1", fence="1.1", lease_until=now, step=Step.POLL, attempt=attempt,
        model="m", provider="fal", endpoint="fal-ai/boats", output="video", input={},
        asset_key="k",
    )  # fmt: skip

    async def read() -> Status:
        queue = FalQueue(queue_url=url, api_url=url, key="id:one")
        try:
            return await queue.status(claim)
        finally:
            await queue.close()

    return asyncio.run(read())


def test_a_log_that_is_too_long_is_left_out() -> None:
    """Where a job stands is known all the same."""
    with provider_whose_model_says("a line") as url:
        assert [line.message for line in status_at(url).logs] == ["a line"]
    with provider_whose_model_says("x" * LOGS_MAX_BYTES) as url:
        assert status_at(url) == Status(
            provider_status="IN_PROGRESS", completed=False, queue_position=0
        )


def running(ledger: LiveLedger, logs: list[Any]) -> tuple[str, HandWorker, Any]:
    """A generation that runs: its id, its worker, and the worker's claim."""
    account_id, worker = new_account(), HandWorker(ledger.worker)
    ledger.caller.grant(account_id, 100)
    body = {"account_id": account_id, "model": "veo-3.1-lite", "input": {"prompt": "a boat"}}
    ordered = expect(202, ledger.caller.post("/v1/generations", body))["generation"]
    submitted = {"type": "submitted", "request_id": "req-1"}
    claim = worker.claim(ordered["generation_id"])
    claim = expect(200, worker.report(claim, submitted))["next_claim"]
    told = {"type": "running", "provider_status": "IN_PROGRESS", "queue_position": 3, "logs": logs}
    expect(200, worker.report(claim, told))
    return ordered["generation_id"], worker, claim


def test_what_the_model_says_is_shown_while_it_works(ledger: LiveLedger) -> None:
    """To its owner alone, in reads and lists, until it ends; at rest nobody can read it."""
    generation_id, worker, _ = running(ledger, [LINE])
    path = f"/v1/generations/{generation_id}"
    shown = expect(200, ledger.caller.get(path))
    progress = shown["progress"]
    assert (progress["provider_status"], progress["queue_position"]) == ("IN_PROGRESS", 3)
    assert progress["logs"] == [LINE]
    (item,) = expect(200, ledger.caller.get("/v1/generations", account_id=shown["account_id"]))[
        "items"
    ]
    assert item["progress"] == progress
    with ledger.database.connect() as connection:
        (row,) = connection.execute(
            "SELECT logs, provider_status FROM ledger.progress WHERE generation_id = %s",
            [generation_id],
        ).fetchall()
        assert row[1] == "IN_PROGRESS"
        assert b"paper boat" not in bytes(row[0])
        connection.execute(
            "UPDATE ledger.jobs SET due_at = clock_timestamp() WHERE generation_id = %s",
            [generation_id],
        )
    expect(200, worker.report(worker.claim(generation_id), FAILED))
    assert expect(200, ledger.caller.get(path))["progress"] is None


def test_logs_go_with_the_key_of_their_owner(ledger: LiveLedger) -> None:
    """Who was forgotten left nothing that can be read."""
    generation_id, _, _ = running(ledger, [LINE])
    with ledger.database.connect_owner() as connection:
        connection.execute(
            "DELETE FROM ledger.subject_keys WHERE owner ="
            " (SELECT owner FROM ledger.jobs WHERE generation_id = %s)",
            [generation_id],
        )
    shown = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    assert (shown["progress"]["logs"], shown["input"]) == ([], {})


@pytest.mark.parametrize("logs", [[LINE] * (LOG_LINES_MAX + 1), [{"message": "x" * 301}], [{}]])
def test_more_than_a_report_takes_changes_nothing(ledger: LiveLedger, logs: list[Any]) -> None:
    """The bounds hold whoever reports."""
    generation_id, worker, claim = running(ledger, [])
    told = {"type": "running", "provider_status": "IN_PROGRESS", "logs": logs}
    refused = expect(400, worker.report(claim, told))
    assert refused["code"] == "validation_failed"
    shown = expect(200, ledger.caller.get(f"/v1/generations/{generation_id}"))
    assert shown["progress"]["logs"] == []
