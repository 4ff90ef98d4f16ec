"""Families of samples in Prometheus' terms, made when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

PREFIX: Final = "credit_ledger_"
Labels = tuple[str, ...]


def gauge(
    name: str, meaning: str, values: Mapping[Labels, float], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    """What is so now, by the labels' values."""
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def counter(
    name: str, meaning: str, values: Mapping[Labels, float], labels: Sequence[str] = ()
) -> CounterMetricFamily:
    """What has happened so far, by the labels' values."""
    family = CounterMetricFamily(PREFIX + name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def histogram(
    name: str,
    meaning: str,
    bounds: Sequence[float],
    values: Mapping[Labels, tuple[Sequence[int], float]],
    labels: Sequence[str] = (),
) -> HistogramMetricFamily:
    """How much has come of each size: by the labels' values, how many in each bucket, and the sum
    of all. After the buckets of `bounds` there may be one more, for the rest."""
    family = HistogramMetricFamily(PREFIX + name, meaning, labels=labels)
    ends = [*(f"{bound:g}" for bound in bounds if bound != float("inf")), "+Inf"]
    for of, (counts, total) in values.items():
        below = list(itertools.accumulate(counts))
        below += below[-1:] * (len(ends) - len(below))
        family.add_metric(of, list(zip(ends, map(float, below), strict=True)), total)
    return family
