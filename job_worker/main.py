"""The composition root: what one worker process consists of, how it starts and how it stops.

Dramatiq imports this module in each of its processes and calls `boot`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from contracts.client import WorkClient
from contracts.forgetting import Forgetting, ForgettingReport
from contracts.jobs import ReportEvent, Step
from job_worker import actors, process
from job_worker.breaker import Breaker, Guarded
from job_worker.carrying import Carrier, Held
from job_worker.crew import Crew
from job_worker.doorbell import make_broker
from job_worker.downloads import MediaHosts
from job_worker.errands import Errands
from job_worker.forgetting import Forgetter
from job_worker.loop_thread import LoopThread
from job_worker.media import MediaStore
from job_worker.metrics import Metrics, StateFigures
from job_worker.presence import Presence
from job_worker.providers.absent import AbsentProvider
from job_worker.providers.fal import FalQueue
from job_worker.providers.port import Provider
from job_worker.pulling import Puller
from job_worker.settings import Settings, read_settings
from job_worker.sharing import SharedDesk
from job_worker.steps.fetch import fetch
from job_worker.steps.find import find
from job_worker.steps.forget import forget
from job_worker.steps.poll import poll
from job_worker.steps.submit import submit
from job_worker.thumbnails import Thumbnailer

log: Final = logging.getLogger(__name__)

HEALTH_SECONDS: Final = 60.0
"""Between two health lines in the log."""
DRAIN_SECONDS: Final = 4.0
"""How long steps may go on after SIGTERM. What is abandoned then is claimed by another worker."""


def boot() -> None:
    """Build this process and set its broker; raises `BadSettings`."""
    process.end_with_parent()
    process.hide_environment()
    # They log each request's URL, and a webhook's URL holds a token.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = read_settings(os.environ)
    worker = WorkerProcess(settings)
    broker = make_broker(settings.valkey_url.value, _StopWithWorker(worker))
    actors.declare(broker, worker.answer_bell)


def make_fal(settings: Settings) -> Provider:
    """fal.ai, or whatever speaks its protocol."""
    return FalQueue(
        queue_url=settings.fal_queue_url,
        api_url=settings.fal_api_url,
        key=settings.fal_key.value,
        admin_key=settings.fal_admin_key.value,
        submits_max=settings.places,
        listing_complete=settings.provider_listing_complete,
        media_hosts=settings.fal_media_hosts,
    )


PROVIDERS: Final[Mapping[str, Callable[[Settings], Provider]]] = {"fal": make_fal}
"""Every provider that this worker can talk to, under the name that claims give it."""


class Steps:
    """The steps with everything they need; called with a claim, it performs its step."""

    def __init__(
        self, providers: Mapping[str, Provider], media: MediaStore, metrics: Metrics | None = None
    ) -> None:
        self._metrics = metrics or Metrics()
        self._providers = {
            name: Guarded(name, providers[name], self._metrics) for name in providers
        }
        self._unguarded = providers
        self._absent = AbsentProvider()
        self._media = media

    async def __call__(self, held: Held) -> ReportEvent:
        """Perform the one step that the claim permits."""
        started = time.monotonic()
        event = await self._step(held)
        outcome = str(event.__struct_config__.tag)
        self._metrics.note_step(held.claim.step, outcome, time.monotonic() - started)
        return event

    @property
    def breakers(self) -> dict[str, Breaker]:
        """Those before the providers, by name."""
        return {name: provider.breaker for name, provider in self._providers.items()}

    def _step(self, held: Held) -> Awaitable[ReportEvent]:
        claim = held.claim
        provider: Provider = self._providers.get(claim.provider, self._absent)
        match claim.step:
            case Step.SUBMIT:
                return submit(claim, provider, held.asked_at)
            case Step.POLL if claim.attempt.request_id is None:
                return find(claim, provider)
            case Step.POLL:
                return poll(claim, provider)
            case Step.FETCH:
                return fetch(claim, provider, self._media, held.asked_at)

    def forget(self, forgetting: Forgetting) -> Awaitable[ForgettingReport]:
        """Have the provider forget, if it can."""
        return forget(forgetting, self._unguarded.get(forgetting.provider))

    def health(self) -> str:
        """Where the breaker of each provider stands, in one line."""
        return "; ".join(str(breaker) for breaker in self.breakers.values())

    async def close(self) -> None:
        """Close every connection."""
        for provider in self._providers.values():
            await provider.close()
        await self._media.close()


def make_steps(settings: Settings, metrics: Metrics | None = None) -> Steps:
    """The steps at the providers of `PROVIDERS`; media may come from the hosts of any of them."""
    providers = {name: make(settings) for name, make in PROVIDERS.items()}
    hosts = tuple(host for provider in providers.values() for host in provider.media_hosts)
    thumbnailer = Thumbnailer() if settings.thumbnails else None
    media = MediaStore(settings.storage_url, MediaHosts(hosts), thumbnailer)
    return Steps(providers, media, metrics)


class WorkerProcess:
    """The event loop with all that runs on it: bells being answered, and the pull."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = WorkClient(
            settings.ledger_url,
            settings.ledger_work_key.value,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )
        metrics = Metrics()
        self._steps = make_steps(settings, metrics)
        self._crew = Crew(Carrier(SharedDesk(self._ledger), self._steps), settings.places)
        self._draining: concurrent.futures.Future[None] | None = None
        self._loop = LoopThread("steps")
        breakers = self._steps.breakers
        lasting = [
            Puller(self._crew).run(),
            Forgetter(self._ledger, self._steps.forget).run(),
            Presence(self._ledger, breakers, self._crew).run(),
            self._tell(),
        ]
        if settings.audit_keys:
            lasting.append(Errands(self._ledger).run())
        self._lasting = [self._loop.start(work) for work in lasting]
        metrics.registry.register(
            StateFigures(lambda: [breaker.seen() for breaker in breakers.values()], self._crew)
        )
        if settings.metrics_port:
            metrics.serve(settings.metrics_host, settings.metrics_port, settings.processes)

    def answer_bell(self, generation_id: str) -> None:
        """Have a generation carried; blocks one of the queue's threads until it has a place."""
        self._loop.start(self._crew.answer_bell(generation_id)).result()

    def start_draining(self) -> None:
        """Stop pulling, and give the steps that run `DRAIN_SECONDS`; returns at once."""
        for work in self._lasting:
            work.cancel()
        self._draining = self._loop.start(self._crew.drain(DRAIN_SECONDS))

    def close(self) -> None:
        """Wait for the drain's end, then close everything."""
        assert self._draining is not None, "close follows start_draining"
        self._draining.result()
        self._loop.start(self._close()).result(DRAIN_SECONDS)
        self._loop.stop()

    async def _tell(self) -> None:
        """The health line, now and then."""
        while True:
            log.info("health: %s; %d generations carried", self._steps.health(), self._crew.carried)
            await asyncio.sleep(HEALTH_SECONDS)

    async def _close(self) -> None:
        await self._steps.close()
        await self._ledger.close()


class _StopWithWorker(Middleware):
    """Ties the process's own loop to the stop of Dramatiq's worker."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._process.start_draining()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._process.close()
