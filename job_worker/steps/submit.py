"""Submit: hand the job to the provider, at most once for each attempt."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Final

from contracts.jobs import (
    Claim,
    FailedReport,
    ReportEvent,
    SubmissionUnknownReport,
    SubmittedReport,
)
from contracts.limits import POST_WINDOW_SECONDS
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.providers.port import Provider
from job_worker.steps.reports import failed

log: Final = logging.getLogger(__name__)


async def submit(claim: Claim, provider: Provider, asked_at: float) -> ReportEvent:
    """POST the job if the claim still permits it, and say what is known afterwards.

    `asked_at` is the monotonic time (seconds) just before this claim was asked for.
    """
    if _is_late(claim, asked_at):
        # Nothing was sent and, the claim being ours alone, nothing will be: worth saying, because
        # silence would leave the ledger to suspect a lost submit.
        return FailedReport(reason="not_sent_in_time", retryable=True, sent=False)
    try:
        accepted = await provider.submit(claim)
    except ProviderRejected as error:
        return failed(error)
    except ProviderUnavailable as error:
        if error.not_sent:
            return FailedReport(reason="provider_unreachable", retryable=True, sent=False)
        return SubmissionUnknownReport(reason=error.reason)
    return SubmittedReport(request_id=accepted.request_id, urls=accepted.urls)


def _is_late(claim: Claim, asked_at: float) -> bool:
    """Whether the window for the POST has closed, by either of two clocks.

    The claim was granted after `asked_at`, so the window cannot outlast it whatever the machines'
    clocks say; `post_before` is the ledger's own word, good only if the clocks agree.
    """
    if time.monotonic() >= asked_at + POST_WINDOW_SECONDS:
        return True
    if claim.post_before is None or datetime.now(UTC) < claim.post_before:
        return False
    log.warning("claim of %s is late by this machine's clock alone: is it ahead of the ledger's?",
                claim.generation_id)  # fmt: skip
    return True
