"""Fetch: read the result and copy its assets; the only way to success."""

from __future__ import annotations

import asyncio
from typing import Final

from contracts.jobs import Asset, Claim, ReportEvent, SucceededReport
from contracts.limits import ASSETS_MAX, STORE_WINDOW_SECONDS
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.media import MediaStore
from job_worker.providers.port import Provider, Result
from job_worker.steps.reports import ended, unsettled

FETCHES_MAX: Final = 20
"""Fetches that fal itself answers with a failure that may pass. By the ledger's pace they take five
minutes for an instant job and twenty for a long one: more than a hiccup lasts."""


async def fetch(
    claim: Claim, provider: Provider, media: MediaStore, asked_at: float
) -> ReportEvent:
    """Success is a verified asset in our own storage, nothing less; of several, one is enough, and
    the ledger gives back what was paid for the others.

    A result flagged as unsafe content is one all the same: the provider made it and bills it.
    `asked_at` is the monotonic time (seconds) just before this claim was asked for.
    """
    billable_units = None
    try:
        result = await provider.result(claim)
        billable_units = result.billable_units
        first, *more = await _copy(claim, result, media, asked_at + STORE_WINDOW_SECONDS)
    except ProviderRejected as error:
        # The verdict may come from the media's host, which knows nothing of the costs.
        error.billable_units = error.billable_units or billable_units
        return ended(error, cancel_requested=claim.cancel_requested)
    except ProviderUnavailable as error:
        if error.if_it_stays is not None and claim.fetches + 1 >= FETCHES_MAX:
            return ended(error.if_it_stays, cancel_requested=claim.cancel_requested)
        # fal re-runs a job on its own account: then it is to be polled again, not fetched.
        return unsettled(error, completed=error.reason != "not_complete")
    return SucceededReport(asset=first, more=tuple(more), billable_units=billable_units)


async def _copy(
    claim: Claim, result: Result, media: MediaStore, store_before: float
) -> list[Asset]:
    """What can be had of the assets, at least one. Raises as `MediaStore.copy` does: when none can
    ever be had, and when another try may do better for any of them."""
    keys = [claim.asset_key, *[f"{claim.asset_key}-{n}" for n in range(2, ASSETS_MAX + 1)]]
    copies = [
        media.copy(url, key, claim.output, store_before)
        for url, key in zip(result.asset_urls, keys, strict=False)
    ]
    assets, troubles = [], []
    for outcome in await asyncio.gather(*copies, return_exceptions=True):
        if isinstance(outcome, Asset):
            assets.append(outcome)
        elif isinstance(outcome, ProviderRejected):
            troubles.append(outcome)
        else:
            raise outcome
    if not assets:
        raise troubles[0]
    return assets
