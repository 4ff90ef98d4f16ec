"""The provider that this worker does not know: whatever is of it is left to a newer worker."""

from __future__ import annotations

from typing import Final

from contracts.jobs import PROVIDER_PAUSED, Claim
from job_worker.errors import ProviderRejected, ProviderUnavailable
from job_worker.providers.port import Accepted, Result, Status

WAIT_SECONDS: Final = 30.0
"""Workers that lag behind their ledger are being deployed: that takes a while."""
REASON: Final = "provider_unknown_here"


class AbsentProvider:
    """Does nothing, and says so in the port's own words; nothing is sent and nothing ends."""

    listing_complete = False
    media_hosts: tuple[str, ...] = ()

    async def submit(self, claim: Claim) -> Accepted:
        """Held back, as if the provider had paused."""
        raise ProviderRejected(
            PROVIDER_PAUSED, sent=False, retryable=True, retry_after_seconds=WAIT_SECONDS
        )

    async def find(self, claim: Claim) -> str | None:
        """No verdict."""
        raise ProviderUnavailable(REASON)

    async def status(self, claim: Claim) -> Status:
        """No verdict."""
        raise ProviderUnavailable(REASON)

    async def cancel(self, claim: Claim) -> bool:
        """No verdict."""
        raise ProviderUnavailable(REASON)

    async def result(self, claim: Claim) -> Result:
        """No verdict."""
        raise ProviderUnavailable(REASON)

    async def close(self) -> None:
        """There is nothing to close."""
