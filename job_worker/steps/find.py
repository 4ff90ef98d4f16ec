"""Find: look for a submit whose answer was lost, in the provider's own listing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from contracts.jobs import Claim, FailedReport, ReportEvent, SubmittedReport
from job_worker.errors import ProviderUnavailable
from job_worker.providers.port import Provider
from job_worker.steps.reports import unsettled

SETTLED_AFTER_SECONDS: Final = 16.0
"""By then a submit has arrived or never will: past the POST window and every time limit in it."""


async def find(claim: Claim, provider: Provider) -> ReportEvent:
    """Look once. That it is missing proves something only where the listing is complete."""
    looked_at = datetime.now(UTC)
    try:
        request_id = await provider.find(claim)
    except ProviderUnavailable as error:
        return unsettled(error)
    if request_id is not None:
        return SubmittedReport(request_id=request_id)
    age_seconds = (looked_at - claim.attempt.started_at).total_seconds()
    if provider.listing_complete and age_seconds > SETTLED_AFTER_SECONDS:
        return FailedReport(reason="not_found_at_provider", retryable=True, sent=False)
    return unsettled(ProviderUnavailable("not_listed_so_far"))
