"""The calls on holds, and on grants that were made already."""

from __future__ import annotations

from contracts.api.grants import ClawbackRequest, GrantExpiryRequest, GrantReply, VoidRequest
from contracts.api.holds import (
    CaptureReply,
    CaptureRequest,
    ExtendRequest,
    Hold,
    HoldReply,
    HoldRequest,
    ReleaseHoldsReply,
    ReleaseHoldsRequest,
    ReleaseRequest,
)
from contracts.client.tenant import TenantClient, account_path
from contracts.client.transport import segment


class HoldCalls(TenantClient):
    """Errors, keys and dry runs are as with every call of `LedgerClient`."""

    async def place_hold(
        self, account_id: str, request: HoldRequest, *, key: str, dry_run: bool = False
    ) -> HoldReply:
        """Set credits aside; refused as a debit would be."""
        path = f"{account_path(account_id)}/holds"
        return await self._write(path, HoldReply, request, key, dry_run=dry_run)

    async def hold(self, account_id: str, hold_id: str) -> Hold:
        """Where a hold stands now."""
        return await self._read(_hold(account_id, hold_id), Hold)

    async def capture(
        self, account_id: str, hold_id: str, amount: int | None = None, *, key: str
    ) -> CaptureReply:
        """Spend `amount` of a hold, by default all of it; the rest is released."""
        path = f"{_hold(account_id, hold_id)}/capture"
        return await self._write(path, CaptureReply, CaptureRequest(amount=amount), key)

    async def release(self, account_id: str, hold_id: str, *, key: str) -> HoldReply:
        """Free all that a hold holds."""
        path = f"{_hold(account_id, hold_id)}/release"
        return await self._write(path, HoldReply, ReleaseRequest(), key)

    async def extend(
        self, account_id: str, hold_id: str, ttl_seconds: int, *, key: str
    ) -> HoldReply:
        """Let a hold last until `ttl_seconds` from now."""
        path = f"{_hold(account_id, hold_id)}/extend"
        return await self._write(path, HoldReply, ExtendRequest(ttl_seconds=ttl_seconds), key)

    async def release_holds(
        self, account_id: str, request: ReleaseHoldsRequest, *, key: str
    ) -> ReleaseHoldsReply:
        """Release the open holds that bear a reference; again, under another key, while
        `has_more`."""
        path = f"{account_path(account_id)}/holds/release"
        return await self._write(path, ReleaseHoldsReply, request, key)

    async def claw_back(
        self,
        account_id: str,
        grant_id: str,
        request: ClawbackRequest,
        *,
        key: str,
        dry_run: bool = False,
    ) -> GrantReply:
        """Set how much of a grant is to be taken back in all under a reference."""
        path = f"{_grant(account_id, grant_id)}/clawback"
        return await self._write(path, GrantReply, request, key, dry_run=dry_run)

    async def void_grant(
        self, account_id: str, grant_id: str, request: VoidRequest, *, key: str
    ) -> GrantReply:
        """End the free part of a grant."""
        path = f"{_grant(account_id, grant_id)}/void"
        return await self._write(path, GrantReply, request, key)

    async def change_grant_expiry(
        self, account_id: str, grant_id: str, request: GrantExpiryRequest, *, key: str
    ) -> GrantReply:
        """Let a grant end at another time."""
        path = f"{_grant(account_id, grant_id)}/expiry"
        return await self._write(path, GrantReply, request, key)


def _hold(account_id: str, hold_id: str) -> str:
    return f"{account_path(account_id)}/holds/{segment(hold_id)}"


def _grant(account_id: str, grant_id: str) -> str:
    return f"{account_path(account_id)}/grants/{segment(grant_id)}"
