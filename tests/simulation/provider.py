"""A scripted fal: what it does with each job is drawn from the seed when the job arrives.

It speaks through the worker's own classes: the methods are those of `FalQueue` and `MediaStore`,
and verdicts are made by the worker's own reading of status, headers and body.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from contracts.jobs import Asset, Claim
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.media import MediaStore
from job_worker.providers import fal_verdicts
from job_worker.providers.fal import FalQueue
from job_worker.providers.port import Accepted, Result, Status
from tests.simulation.clock import VirtualLoop
from tests.simulation.faults import Faults
from tests.simulation.trace import Trace

Webhook = Callable[[str, str], None]
"""Called with the URL that the submit named, and the request id."""

_MODEL_ERROR: Final = b'{"detail": [{"type": "content_policy_violation", "msg": "no"}]}'


class FalJob(msgspec.Struct, kw_only=True):
    """A job at the provider. `outcome`: `success`, `failed` (by its status), `refused` (by its
    result), or `none` for one that never ends."""

    request_id: str
    attempt_id: str
    webhook_url: str | None
    ends_at: float
    outcome: str
    is_cancelled: bool = False
    is_listed: bool = True


class Provider:
    """Jobs, and what befalls their calls."""

    def __init__(
        self, loop: VirtualLoop, faults: Faults, chance: Random, trace: Trace, webhook: Webhook
    ) -> None:
        self.listing_complete = chance.random() < 0.5
        self.loop = loop
        self.faults = faults
        self.chance = chance
        self.trace = trace
        self._webhook = webhook
        self.kill_sender: Callable[[], None] = lambda: None
        self.jobs: dict[str, FalJob] = {}
        self.listing: list[FalJob] = []
        self.submits: Counter[str] = Counter()  # POSTs by attempt
        self.accepted: Counter[str] = Counter()  # jobs by generation

    async def pause(self, least: float = 0.02, most: float = 0.4) -> None:
        """A call takes a while."""
        await asyncio.sleep(self.chance.uniform(least, most))

    def accept(self, claim: Claim) -> FalJob:
        """Take a job."""
        self.accepted[claim.generation_id] += 1
        strikes = self.faults.strikes
        lasts = self.chance.uniform(0.1, 12.0)
        outcome = "success"
        if strikes("job_never_ends"):
            outcome, lasts = "none", 1e9
        elif strikes("job_fails"):
            outcome = "failed"
        elif strikes("result_refused"):
            outcome = "refused"
        if strikes("job_slow"):
            lasts *= 10
        job = FalJob(
            request_id=f"req-{len(self.listing) + 1}",
            attempt_id=claim.attempt.attempt_id,
            webhook_url=claim.webhook_url,
            ends_at=self.loop.time() + lasts,
            outcome=outcome,
            is_listed=self.listing_complete or not strikes("listing_incomplete"),
        )
        self.jobs[job.request_id] = job
        self.listing.append(job)
        self.trace.add("provider", job.request_id, "takes", job.attempt_id, outcome, lasts)
        self._schedule_webhooks(job, lasts)
        if strikes("job_forgotten"):
            self.loop.call_later(lasts / 2, self._forget, job)
        return job

    def job_of(self, claim: Claim) -> FalJob | None:
        """The job that a claim names; None when it is not kept, or never was."""
        request_id = claim.attempt.request_id
        return self.jobs.get(request_id) if request_id else None

    def is_complete(self, job: FalJob) -> bool:
        """Whether there is a result, or an error."""
        return job.is_cancelled or self.loop.time() >= job.ends_at

    def _schedule_webhooks(self, job: FalJob, lasts: float) -> None:
        strikes = self.faults.strikes
        if job.outcome == "none" or strikes("webhook_lost"):
            return
        delays = [lasts + self.chance.uniform(0, 1)]
        if strikes("webhook_twice"):
            delays.append(delays[0] + self.chance.uniform(0, 30))
        if strikes("webhook_late"):
            delays.append(delays[0] + self.chance.uniform(30, 900))
        if strikes("webhook_early"):
            delays.append(0.0)
        for delay in delays:
            self.loop.call_later(delay, self._call_back, job)

    def _call_back(self, job: FalJob) -> None:
        if job.webhook_url is not None:
            self._webhook(job.webhook_url, job.request_id)

    def _forget(self, job: FalJob) -> None:
        self.jobs.pop(job.request_id, None)


class ScriptedFal(FalQueue):
    """The provider as a worker calls it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.listing_complete = provider.listing_complete
        self.media_hosts = ()

    async def submit(self, claim: Claim) -> Accepted:
        """POST the job, once. What has left arrives even if its sender dies meanwhile."""
        provider, strikes = self._provider, self._provider.faults.strikes
        if strikes("submit_unreachable"):
            raise ProviderUnavailable("ConnectError", not_sent=True)
        provider.submits[claim.attempt.attempt_id] += 1
        provider.trace.add("worker", "posts", claim.attempt.attempt_id, claim.fence)
        if strikes("worker_killed_submitting"):
            provider.loop.call_later(0.01, provider.kill_sender)
        posting = provider.loop.create_task(self._post(claim))
        posting.add_done_callback(heard)
        return await asyncio.shield(posting)

    async def _post(self, claim: Claim) -> Accepted:
        """It arrives within the call's own time limit, or never."""
        provider, strikes = self._provider, self._provider.faults.strikes
        await provider.pause(*((3.0, 11.0) if strikes("submit_slow") else (0.02, 0.4)))
        if strikes("submit_busy"):
            raise fal_verdicts.of_submit(429, {"retry-after": "3"}, b"")
        if strikes("submit_locked"):
            raise fal_verdicts.of_submit(403, {}, b"")
        if strikes("submit_refused"):
            raise fal_verdicts.of_submit(422, {}, _MODEL_ERROR)
        if strikes("submit_lost"):
            raise ProviderUnavailable("ReadTimeout")
        job = provider.accept(claim)
        if strikes("submit_answer_lost"):
            raise fal_verdicts.of_submit(504, {}, b"")
        await provider.pause()
        return Accepted(request_id=job.request_id, urls=None)

    async def find(self, claim: Claim) -> str | None:
        """Look through the listing."""
        await self._answer()
        for job in self._provider.listing:
            if job.attempt_id == claim.attempt.attempt_id and job.is_listed:
                return job.request_id
        return None

    async def status(self, claim: Claim) -> Status:
        """Where the job stands; raises its failure."""
        await self._answer()
        job = self._provider.job_of(claim)
        if job is None:
            raise ProviderUnavailable("not_found")
        if not self._provider.is_complete(job):
            return Status(provider_status="IN_PROGRESS", completed=False)
        fields: dict[str, str] = {}
        if job.is_cancelled:
            fields = {"error": "cancelled", "error_type": "client_cancelled"}
        elif job.outcome == "failed":
            fields = {"error": "it broke", "error_type": "runner_server_error"}
        if verdict := fal_verdicts.of_status(fields, {}):
            raise verdict
        return Status(provider_status="COMPLETED", completed=True)

    async def cancel(self, claim: Claim) -> bool:
        """Some jobs can be stopped, others run on."""
        await self._answer()
        job = self._provider.job_of(claim)
        if job is None or self._provider.is_complete(job):
            return False
        job.is_cancelled = self._provider.chance.random() < 0.7
        return True

    async def result(self, claim: Claim) -> Result:
        """The asset's URL; raises the verdict on a failure."""
        await self._answer()
        job = self._provider.job_of(claim)
        if job is None:
            raise fal_verdicts.of_result(404, {}, b"")
        if job.outcome == "refused":
            raise fal_verdicts.of_result(422, {}, _MODEL_ERROR)
        if self._provider.faults.strikes("result_broken"):
            raise fal_verdicts.of_result(502, {}, b"")
        return Result(asset_urls=(f"https://fal.media/{job.request_id}",), billable_units="1")

    async def _answer(self) -> None:
        await self._provider.pause()
        if self._provider.faults.strikes("provider_silent"):
            await self._provider.pause(2.0, 8.0)
            raise ProviderUnavailable("ReadTimeout")


class ScriptedMedia(MediaStore):
    """Our storage, and the way there."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def copy(
        self, url: str, asset_key: str, kind: str, store_before: float = math.inf
    ) -> Asset:
        """Copy an asset; a slow copy outlasts leases and needs renewals."""
        strikes = self._provider.faults.strikes
        await self._provider.pause(*((4.0, 60.0) if strikes("media_slow") else (0.02, 1.0)))
        if strikes("media_broken"):
            raise ProviderUnavailable("media_http_502")
        if strikes("media_lost"):
            raise ProviderRejected("media_lost", retryable=True)
        sha256 = hashlib.sha256(url.encode()).hexdigest()
        return Asset(key=asset_key, content_type="video/mp4", size_bytes=1, sha256=sha256)


def heard(task: asyncio.Task[Any]) -> None:
    """Nobody may be left to hear how it ended; a bug is heard of all the same."""
    if not task.cancelled() and isinstance(error := task.exception(), AssertionError):
        raise error
