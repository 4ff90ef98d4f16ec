"""Where a worker's processes show their figures."""

from __future__ import annotations

import httpx
import pytest

from deploy.run.host import free_port
from job_worker.errors import ProviderRefusesUs, ProviderRejected, ProviderUnavailable
from job_worker.metrics import Metrics


def test_each_process_has_a_port_of_its_own() -> None:
    """The first one that is asked for, the next one further on; one too many works without."""
    port = free_port()
    first, second, third = Metrics(), Metrics(), Metrics()
    first.note_step("submit", "submitted", 0.2)
    assert first.serve("127.0.0.1", port, 2) == port
    assert second.serve("127.0.0.1", port, 2) == port + 1
    assert third.serve("127.0.0.1", port, 2) is None
    urls = [f"http://127.0.0.1:{port + number}/metrics" for number in (0, 1)]
    texts = [httpx.get(url, trust_env=False).text for url in urls]
    line = 'credit_ledger_worker_steps_total{outcome="submitted",step="submit"} 1.0\n'
    assert [line in text for text in texts] == [True, False]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ProviderRefusesUs("provider_account_locked"), "refused_us"),
        (ProviderRejected("provider_busy", sent=False, retryable=True), "busy"),
        (ProviderRejected("content_policy_violation"), "rejected"),
        (ProviderRejected("internal_error", retryable=True), "rejected"),
        (ProviderUnavailable("ReadTimeout"), "no_verdict"),
        (ProviderUnavailable("ConnectError", not_sent=True), "not_sent"),
        (KeyError("a bug"), "abandoned"),
    ],
)
def test_calls_are_counted_by_what_they_end_with(error: Exception, outcome: str) -> None:
    """In a few kinds, since providers make up reasons without end."""
    metrics = Metrics()
    with pytest.raises(type(error)), metrics.calling("fal", "submit"):
        raise error
    labels = {"provider": "fal", "operation": "submit", "outcome": outcome}
    name = "credit_ledger_worker_provider_calls_total"
    assert metrics.registry.get_sample_value(name, labels) == 1
