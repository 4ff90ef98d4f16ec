"""All figures of a serving process, in one registry of its own.

What a process counts itself since it began bears the label `process`: several serve behind one
address, and a collector meets one of them at a time. What stands in the database is of the whole
deployment, has no such label, and every process tells the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.presence import BreakerState
from ledger_service.api.deployment import concerns_of
from ledger_service.api.families import counter, gauge, histogram
from ledger_service.api.gate import Gate
from ledger_service.api.traffic import BUCKETS_SECONDS, CLASSES, Traffic
from ledger_service.engine.engine import Engine
from ledger_service.engine.tally import SIZES
from ledger_service.generations.endings import DELAY_BUCKETS_SECONDS
from ledger_service.generations.roster import provider_health
from ledger_service.store.figures import FigureReads, Figures

_PROCESS: Final = "process"


class ProcessFigures(Collector):
    """What this process has done since it began, and does now."""

    def __init__(
        self, traffic: Traffic, gate: Gate, engine: Engine, webhooks: Counter[str]
    ) -> None:
        self._traffic = traffic
        self._gate = gate
        self._engine = engine
        self._webhooks = webhooks
        self._process = str(os.getpid())

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' library calls it, from any thread."""
        yield from self._requests()
        yield from self._batches()
        yield counter(
            "webhooks",
            "Webhooks of the provider by what they were taken for.",
            {(self._process, result): n for result, n in self._webhooks.copy().items()},
            (_PROCESS, "result"),
        )

    def _requests(self) -> Iterator[Metric]:
        asked = [meter for meter in self._traffic.meters if any(meter.classes)]
        yield counter(
            "http_requests",
            "Answers by route and class of status.",
            {
                (self._process, meter.method, meter.path, name): n
                for meter in asked
                for name, n in zip(CLASSES, meter.classes, strict=True)
                if n
            },
            (_PROCESS, "method", "route", "class"),
        )
        yield histogram(
            "http_request_seconds",
            "From a request's head until its answer is ready to be sent.",
            BUCKETS_SECONDS,
            {
                (self._process, meter.method, meter.path): (tuple(meter.buckets), meter.seconds)
                for meter in asked
            },
            (_PROCESS, "method", "route"),
        )
        yield counter(
            "turned_away_requests",
            "Told to come again before anything of them was read, because too many were waiting.",
            {(self._process,): self._gate.turned_away},
            (_PROCESS,),
        )

    def _batches(self) -> Iterator[Metric]:
        tally, process = self._engine.tally, (self._process,)
        waiting, in_flight = self._engine.waiting, tally.in_flight
        yield gauge(
            "engine_waiting_commands", "Whose callers wait.", {process: waiting}, (_PROCESS,)
        )
        yield gauge(
            "engine_batches_in_flight", "At the database now.", {process: in_flight}, (_PROCESS,)
        )
        yield counter(
            "engine_batches",
            "By the way they took and what became of them: what was not appended is tried again.",
            {(self._process, *of): n for of, n in tally.batches.copy().items()},
            (_PROCESS, "lane", "outcome"),
        )
        yield histogram(
            "engine_batch_commands",
            "Commands in one batch.",
            SIZES,
            {process: (tuple(tally.sizes), tally.commands)},
            (_PROCESS,),
        )
        yield counter(
            "engine_unknown_outcomes",
            "Commands whose callers could not be told what became of them.",
            {process: tally.unknown},
            (_PROCESS,),
        )


class DeploymentFigures(Collector):
    """What was read from the database last; that it could not be read, while it cannot."""

    def __init__(self, reads: FigureReads) -> None:
        self._reads = reads

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' library calls it, from any thread."""
        figures = self._reads.last
        yield gauge("database_up", "1 while the figures can be read.", {(): figures is not None})
        if figures is not None:
            yield from _of_the_log(figures)
            yield from _of_work(figures)
            yield from _of_endings(figures)
            yield from _of_providers(figures)
            yield from _of_reconciling(figures)


def _of_the_log(figures: Figures) -> Iterator[Metric]:
    yield gauge("log_position", "Of the newest event.", {(): figures.log_position})
    yield gauge(
        "follower_behind_positions",
        "Positions of the log that a follower has still to take in.",
        {(each.name,): each.head - each.position for each in figures.followers},
        ("follower",),
    )


def _of_work(figures: Figures) -> Iterator[Metric]:
    yield gauge(
        "concern",
        "1 for what somebody should look at; the same as in /v1/health.",
        {(concern.value,): holds for concern, holds in concerns_of(figures).items()},
        ("concern",),
    )
    yield gauge("clockwork_leads", "1 while one does.", {(): figures.clockwork_leads})
    yield gauge(
        "jobs",
        "Generations under way by status; counted up to 20,000.",
        {(status,): n for status, n in figures.jobs.items()},
        ("status",),
    )
    yield gauge("jobs_due", "That wait for a worker; up to 20,000.", {(): figures.due})
    yield gauge(
        "oldest_due_job_seconds",
        "How long the first of those has waited; low priorities count from ten minutes on.",
        {(): figures.late_seconds},
    )
    if figures.claimed_seconds_ago is not None:
        yield gauge(
            "last_claim_seconds",
            "Since a worker asked for work.",
            {(): figures.claimed_seconds_ago},
        )
    yield gauge("workers", "Processes of workers that are there.", {(): len(figures.workers)})


def _of_endings(figures: Figures) -> Iterator[Metric]:
    yield counter(
        "generations_ended",
        "By outcome, and the reason of those without a result.",
        {(each.outcome, each.reason): each.ended for each in figures.endings},
        ("outcome", "reason"),
    )
    found = {each.upto_seconds: each for each in figures.refund_delays}
    counts = [found[end].refunds if end in found else 0 for end in DELAY_BUCKETS_SECONDS]
    yield histogram(
        "refund_delay_seconds",
        "From the first word that the provider is done to the credits being back.",
        DELAY_BUCKETS_SECONDS,
        {(): (counts, sum(each.seconds for each in figures.refund_delays))},
    )


def _of_providers(figures: Figures) -> Iterator[Metric]:
    providers = provider_health(figures.workers)
    states = Counter(
        (seen.name, seen.state.value) for _, told in figures.workers for seen in told.providers
    )
    yield gauge(
        "provider_breaker_workers",
        "Processes of workers by the state of their breaker before a provider.",
        {(p.name, state.value): states[p.name, state.value]
         for p in providers for state in BreakerState},
        ("provider", "state"),
    )  # fmt: skip
    yield gauge(
        "provider_paused_seconds",
        "How long a provider has taken nothing of us; 0 while it does.",
        {(provider.name,): provider.for_seconds for provider in providers},
        ("provider",),
    )
    yield gauge(
        "provider_held_back_submits",
        "Submits that were held back in the present pause.",
        {(provider.name,): provider.held_back for provider in providers},
        ("provider",),
    )


def _of_reconciling(figures: Figures) -> Iterator[Metric]:
    if figures.reconciled is None:
        return
    report = figures.reconciled.report
    yield gauge(
        "reconciliation_age_seconds",
        "Since the newest daily comparison was reported.",
        {(): figures.reconciled.age_seconds},
    )
    yield gauge(
        "reconciliation_drift",
        "What the newest daily comparison found, by kind.",
        {(finding.drift.value,): finding.count for finding in report.findings},
        ("drift",),
    )
    yield gauge(
        "reconciliation_compared",
        "What the newest daily comparison looked at, by side.",
        {("ledger",): report.attempts, ("provider",): report.requests,
         ("storage",): report.files},
        ("side",),
    )  # fmt: skip


def make_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry of nothing but these."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry
