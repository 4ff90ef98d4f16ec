"""Poll: ask the provider where the job stands, and cancel it first when that is wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from contracts.jobs import CancelledReport, Claim, ReportEvent, RunningReport
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.providers.port import Provider
from job_worker.steps.reports import ended, failed, unsettled

LOST_AFTER_SECONDS: Final = 120.0
"""A job this old that the provider has never heard of will not turn up any more."""


async def poll(claim: Claim, provider: Provider) -> ReportEvent:
    """Look once. Success wins over a cancel: only the provider's own status ends a job."""
    cancel_accepted = False
    try:
        if claim.cancel_requested:
            cancel_accepted = await provider.cancel(claim)
        status = await provider.status(claim)
    except ProviderRejected as error:
        return ended(error, cancel_requested=claim.cancel_requested)
    except ProviderUnavailable as error:
        if error.reason != "not_found":
            return unsettled(error)
        if cancel_accepted:
            # It left the queue before it ran, and nothing is kept of such a job.
            return CancelledReport()
        if _age_seconds(claim) > LOST_AFTER_SECONDS:
            return failed(ProviderRejected("request_lost", retryable=True))
        return unsettled(error)
    return RunningReport(
        provider_status=status.provider_status,
        completed=status.completed,
        queue_position=status.queue_position,
        logs=status.logs,
    )


def _age_seconds(claim: Claim) -> float:
    return (datetime.now(UTC) - claim.attempt.started_at).total_seconds()
