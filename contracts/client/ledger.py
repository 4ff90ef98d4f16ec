"""The calls of an app's backend: credits in, credits out, generations."""

from __future__ import annotations

from typing import TypeVar

from contracts.api.accounts import Account
from contracts.api.common import Request
from contracts.api.debits import DebitReply, DebitRequest, RefundReply, RefundRequest
from contracts.api.generations import (
    Generation,
    GenerationReply,
    GenerationRequest,
    ModelsReply,
)
from contracts.api.grants import GrantReply, GrantRequest
from contracts.client.transport import Client, segment

Reply = TypeVar("Reply")


class LedgerClient(Client):
    """One tenant's view of the ledger. Every method raises `LedgerRejected`, `LedgerUnavailable`.

    `key` is the idempotency key: the same key with the same request is one effect and one answer,
    so a caller that got `LedgerUnavailable` asks again with the same key.
    """

    async def account(self, account_id: str, *, min_position: int | None = None) -> Account:
        """An account with its balance, not older than `min_position` in the log."""
        query = None if min_position is None else {"min_position": str(min_position)}
        return await self._transport.call("GET", _account(account_id), Account, query=query)

    async def grant(self, account_id: str, request: GrantRequest, *, key: str) -> GrantReply:
        """Give credits; the first grant opens the account."""
        return await self._write(f"{_account(account_id)}/grants", GrantReply, request, key)

    async def debit(self, account_id: str, request: DebitRequest, *, key: str) -> DebitReply:
        """Spend credits; `insufficient_credits` carries `available`, `required`, `shortfall`."""
        return await self._write(f"{_account(account_id)}/debits", DebitReply, request, key)

    async def refund(
        self, account_id: str, debit_id: str, request: RefundRequest, *, key: str
    ) -> RefundReply:
        """Give credits of a debit back to the grants they came from."""
        path = f"{_account(account_id)}/debits/{segment(debit_id)}/refunds"
        return await self._write(path, RefundReply, request, key)

    async def models(self) -> ModelsReply:
        """What can be generated, and for how many credits."""
        return await self._transport.call("GET", "/v1/models", ModelsReply)

    async def request_generation(self, request: GenerationRequest, *, key: str) -> GenerationReply:
        """Ask for a generation; its price is debited in the same transaction."""
        return await self._write("/v1/generations", GenerationReply, request, key)

    async def generation(self, generation_id: str) -> Generation:
        """Where a generation stands now."""
        path = f"/v1/generations/{segment(generation_id)}"
        return await self._transport.call("GET", path, Generation)

    async def _write(self, path: str, reply_type: type[Reply], request: Request, key: str) -> Reply:
        return await self._transport.call(
            "POST", path, reply_type, body=request, idempotency_key=key
        )


def _account(account_id: str) -> str:
    return f"/v1/accounts/{segment(account_id)}"
