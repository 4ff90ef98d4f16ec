"""Fetch: read the result and copy its asset; the only way to success."""

from __future__ import annotations

from contracts.jobs import Claim, ReportEvent, SucceededReport
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.media import MediaStore
from job_worker.providers.port import Provider
from job_worker.steps.reports import ended, unsettled


async def fetch(claim: Claim, provider: Provider, media: MediaStore) -> ReportEvent:
    """Success is a verified asset in our own storage, nothing less.

    A result flagged as unsafe content is one all the same: the provider made it and bills it.
    """
    billable_units = None
    try:
        result = await provider.result(claim)
        billable_units = result.billable_units
        asset = await media.copy(result.asset_url, claim.asset_key, claim.output)
    except ProviderRejected as error:
        # The verdict may come from the media's host, which knows nothing of the costs.
        error.billable_units = error.billable_units or billable_units
        return ended(error, cancel_requested=claim.cancel_requested)
    except ProviderUnavailable as error:
        # fal re-runs a job on its own account: then it is to be polled again, not fetched.
        return unsettled(error, completed=error.reason != "not_complete")
    return SucceededReport(asset=asset, billable_units=billable_units)
