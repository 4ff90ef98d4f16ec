"""The calls of operators: balances put right, accounts frozen or merged, terms and policies."""

from __future__ import annotations

from contracts.api.accounts import AccountReply
from contracts.api.operating import (
    AdjustmentReply,
    AdjustmentRequest,
    StandingRequest,
    TransferReply,
    TransferRequest,
    WriteOffReply,
    WriteOffRequest,
)
from contracts.api.policies import Policy, PolicyRequest, PolicySetReply
from contracts.api.terms import (
    LimitsReply,
    LimitsRequest,
    LimitsSetReply,
    SchedulesReply,
    SchedulesRequest,
    SchedulesSetReply,
    ThresholdsReply,
    ThresholdsRequest,
    ThresholdsSetReply,
)
from contracts.client.tenant import TenantClient, account_path


class OperatingCalls(TenantClient):
    """They need the scope `admin`. Errors, keys and dry runs are as with every call of
    `LedgerClient`; what is set needs no key."""

    async def adjust(
        self, account_id: str, request: AdjustmentRequest, *, key: str, dry_run: bool = False
    ) -> AdjustmentReply:
        """Give or take credits by hand."""
        path = f"{account_path(account_id)}/adjustments"
        return await self._write(path, AdjustmentReply, request, key, dry_run=dry_run)

    async def write_off(
        self, account_id: str, request: WriteOffRequest, *, key: str, dry_run: bool = False
    ) -> WriteOffReply:
        """Forgive debt."""
        path = f"{account_path(account_id)}/write-offs"
        return await self._write(path, WriteOffReply, request, key, dry_run=dry_run)

    async def transfer(
        self, request: TransferRequest, *, key: str, dry_run: bool = False
    ) -> TransferReply:
        """Move credits to another account, or merge the one into the other."""
        return await self._write("/v1/transfers", TransferReply, request, key, dry_run=dry_run)

    async def freeze(self, account_id: str, request: StandingRequest, *, key: str) -> AccountReply:
        """Let nothing be spent."""
        return await self._write(f"{account_path(account_id)}/freeze", AccountReply, request, key)

    async def unfreeze(
        self, account_id: str, request: StandingRequest, *, key: str
    ) -> AccountReply:
        """Let credits be spent again."""
        return await self._write(f"{account_path(account_id)}/unfreeze", AccountReply, request, key)

    async def close_account(
        self, account_id: str, request: StandingRequest, *, key: str
    ) -> AccountReply:
        """Let nothing be spent or granted any more, for good."""
        return await self._write(f"{account_path(account_id)}/close", AccountReply, request, key)

    async def schedules(self, account_id: str) -> SchedulesReply:
        """The account's recurring grants."""
        return await self._read(f"{account_path(account_id)}/schedules", SchedulesReply)

    async def set_schedules(self, account_id: str, request: SchedulesRequest) -> SchedulesSetReply:
        """Replace the account's recurring grants."""
        path = f"{account_path(account_id)}/schedules"
        return await self._replace(path, SchedulesSetReply, request)

    async def thresholds(self, account_id: str) -> ThresholdsReply:
        """What is watched on the account."""
        return await self._read(f"{account_path(account_id)}/thresholds", ThresholdsReply)

    async def set_thresholds(
        self, account_id: str, request: ThresholdsRequest
    ) -> ThresholdsSetReply:
        """Replace what is watched on the account."""
        path = f"{account_path(account_id)}/thresholds"
        return await self._replace(path, ThresholdsSetReply, request)

    async def limits(self, account_id: str) -> LimitsReply:
        """The spend limits that hold for the account."""
        return await self._read(f"{account_path(account_id)}/limits", LimitsReply)

    async def set_limits(self, account_id: str, request: LimitsRequest) -> LimitsSetReply:
        """Replace the account's spend limits."""
        return await self._replace(f"{account_path(account_id)}/limits", LimitsSetReply, request)

    async def policy(self) -> Policy:
        """The tenant's policy."""
        return await self._read("/v1/policies", Policy)

    async def set_policy(self, request: PolicyRequest) -> PolicySetReply:
        """Replace the tenant's policy."""
        return await self._replace("/v1/policies", PolicySetReply, request)
