"""Forget: have the provider delete what it keeps of a generation's requests."""

from __future__ import annotations

from contracts.forgetting import Forgetting, ForgettingOutcome, ForgettingReport
from job_worker.errors import ProviderUnavailable
from job_worker.providers.port import Forgets, Provider


async def forget(forgetting: Forgetting, provider: Provider | None) -> ForgettingReport:
    """All of it, or as much as can be: what is gone already is gone at the next try as well. A
    provider that this worker does not know (None) is left to a newer worker."""
    if provider is None:
        return _said(forgetting, ForgettingOutcome.FAILED, "provider_unknown_here")
    if not isinstance(provider, Forgets):
        return _said(forgetting, ForgettingOutcome.IMPOSSIBLE, "provider_forgets_nothing")
    trouble = None
    for request_id in forgetting.request_ids:
        try:
            await provider.forget(request_id)
        except ProviderUnavailable as error:
            trouble = error.reason
    if trouble is not None:
        return _said(forgetting, ForgettingOutcome.FAILED, trouble)
    return _said(forgetting, ForgettingOutcome.FORGOTTEN)


def _said(
    forgetting: Forgetting, outcome: ForgettingOutcome, reason: str | None = None
) -> ForgettingReport:
    return ForgettingReport(fence=forgetting.fence, outcome=outcome, reason=reason)
