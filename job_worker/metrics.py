"""Figures of one worker's process, for a collector such as Prometheus.

A worker serves nothing; where `WORKER_METRICS_PORT` is set, each of its processes answers on
loopback, or where `WORKER_METRICS_HOST` says, at the first free port from there on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.presence import BreakerState, ProviderSeen
from job_worker.crew import Crew
from job_worker.errors import ProviderRefusesUs, ProviderRejected, ProviderUnavailable

log: Final = logging.getLogger(__name__)

PREFIX: Final = "credit_ledger_worker_"
BUCKETS_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Up to the longest step, a copy."""


class Metrics:
    """Counts steps and calls of providers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._steps = Counter(
            PREFIX + "steps", "Steps by what was reported.", ("step", "outcome"),
            registry=self.registry,
        )  # fmt: skip
        self._step_seconds = Histogram(
            PREFIX + "step_seconds", "How long steps took.", ("step",),
            buckets=BUCKETS_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._calls = Counter(
            PREFIX + "provider_calls", "Calls of a provider by what they ended with.",
            ("provider", "operation", "outcome"), registry=self.registry,
        )  # fmt: skip
        self._call_seconds = Histogram(
            PREFIX + "provider_call_seconds", "How long calls of a provider took.",
            ("provider", "operation"), buckets=BUCKETS_SECONDS, registry=self.registry,
        )  # fmt: skip

    def note_step(self, step: str, outcome: str, seconds: float) -> None:
        """A step has ended with this report."""
        self._steps.labels(step, outcome).inc()
        self._step_seconds.labels(step).observe(seconds)

    @contextmanager
    def calling(self, provider: str, operation: str) -> Iterator[None]:
        """Around one call: times it, and counts it by what it ends with."""
        started, outcome = time.monotonic(), "abandoned"
        try:
            yield
            outcome = "answered"
        except (ProviderRejected, ProviderUnavailable) as error:
            outcome = _outcome(error)
            raise
        finally:
            self._calls.labels(provider, operation, outcome).inc()
            self._call_seconds.labels(provider, operation).observe(time.monotonic() - started)

    def serve(self, host: str, port: int, processes: int) -> int | None:
        """Answer in a thread of its own; returns the port: the first one from `port` on that none
        of the worker's other processes has. None when there is none, which keeps nobody from
        working."""
        for candidate in range(port, port + processes):
            try:
                start_http_server(candidate, host, self.registry)
            except OSError as error:
                log.error("no metrics at %s:%d: %s", host, candidate, error.strerror)
            else:
                log.info("metrics at http://%s:%d/metrics", host, candidate)
                return candidate
        return None


class StateFigures(Collector):
    """What is so now: `seen` tells of the providers."""

    def __init__(self, seen: Callable[[], Iterable[ProviderSeen]], crew: Crew) -> None:
        self._seen = seen
        self._crew = crew

    def collect(self) -> Iterator[Metric]:
        """As Prometheus' library calls it, from any thread."""
        yield GaugeMetricFamily(
            PREFIX + "under_way", "Generations that are carried.", value=self._crew.carried
        )
        yield GaugeMetricFamily(
            PREFIX + "places", "Generations that can be carried at once.", value=self._crew.places
        )
        breaker = GaugeMetricFamily(
            PREFIX + "breaker", "1 for the state of the breaker before a provider.",
            labels=("provider", "state"),
        )  # fmt: skip
        held_back = GaugeMetricFamily(
            PREFIX + "held_back_submits", "In the present pause.", labels=("provider",)
        )
        for seen in self._seen():
            for state in BreakerState:
                breaker.add_metric((seen.name, state.value), seen.state is state)
            held_back.add_metric((seen.name,), seen.held_back)
        yield breaker
        yield held_back


def _outcome(error: ProviderRejected | ProviderUnavailable) -> str:
    """What came of a call that raised: the kind of it, since reasons are without end."""
    if isinstance(error, ProviderUnavailable):
        return "not_sent" if error.not_sent else "no_verdict"
    if isinstance(error, ProviderRefusesUs):
        return "refused_us"
    return "busy" if error.retryable and not error.sent else "rejected"
