"""Errors as reports: the same words in every step."""

from __future__ import annotations

from typing import Final

from contracts.jobs import CancelledReport, FailedReport, RunningReport
from job_worker.errors import ProviderCancelled, ProviderRejected, ProviderUnavailable

UNKNOWN_STATUS: Final = "UNKNOWN"
"""The provider status of a look that found nothing out."""


def failed(error: ProviderRejected) -> FailedReport:
    """The provider's verdict."""
    return FailedReport(
        reason=error.reason,
        message=error.message,
        retryable=error.retryable,
        sent=error.sent,
        retry_after_seconds=error.retry_after_seconds,
        billable_units=error.billable_units,
    )


def ended(error: ProviderRejected, *, cancel_requested: bool) -> FailedReport | CancelledReport:
    """The provider's verdict; a cancellation is one only if we had asked for it."""
    if isinstance(error, ProviderCancelled) and cancel_requested:
        return CancelledReport(billable_units=error.billable_units)
    return failed(error)


def unsettled(error: ProviderUnavailable, *, completed: bool = False) -> RunningReport:
    """No verdict: the ledger only sets the next time to look."""
    status = "COMPLETED" if completed else UNKNOWN_STATUS
    return RunningReport(provider_status=status, completed=completed, error=error.reason)
