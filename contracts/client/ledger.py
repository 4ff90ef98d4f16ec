"""The calls of an app's backend: credits in, credits out, generations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from contracts.api.accounts import Account
from contracts.api.batches import BatchReply, BatchRequest
from contracts.api.commands import CommandOutcome
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

BATCH_TIMEOUT_SECONDS: Final = 30.0


class LedgerClient(Client):
    """One tenant's view of the ledger. Every method raises `LedgerRejected`, `LedgerUnavailable`.

    `key` is the idempotency key: the same key with the same request is one effect and one answer,
    so a caller that got `LedgerUnavailable` asks again with the same key. With `dry_run` the reply
    tells what would happen; nothing does, and the key is not used.
    """

    async def account(self, account_id: str, *, min_position: int | None = None) -> Account:
        """An account with its balance, not older than `min_position` in the log."""
        query = None if min_position is None else {"min_position": str(min_position)}
        return await self._transport.call("GET", _account(account_id), Account, query=query)

    async def grant(
        self, account_id: str, request: GrantRequest, *, key: str, dry_run: bool = False
    ) -> GrantReply:
        """Give credits; the first grant opens the account."""
        path = f"{_account(account_id)}/grants"
        return await self._write(path, GrantReply, request, key, dry_run=dry_run)

    async def debit(
        self, account_id: str, request: DebitRequest, *, key: str, dry_run: bool = False
    ) -> DebitReply:
        """Spend credits; `insufficient_credits` carries `available`, `required`, `shortfall`."""
        path = f"{_account(account_id)}/debits"
        return await self._write(path, DebitReply, request, key, dry_run=dry_run)

    async def refund(
        self,
        account_id: str,
        debit_id: str,
        request: RefundRequest,
        *,
        key: str,
        dry_run: bool = False,
    ) -> RefundReply:
        """Give credits of a debit back to the grants they came from."""
        path = f"{_account(account_id)}/debits/{segment(debit_id)}/refunds"
        return await self._write(path, RefundReply, request, key, dry_run=dry_run)

    async def void_command(self, account_id: str, key: str) -> CommandOutcome:
        """Make sure that nothing comes of the command with this key, unless it took effect already:
        `voided` tells which."""
        path = f"{_account(account_id)}/commands/{segment(key)}/void"
        return await self._transport.call("POST", path, CommandOutcome, repeatable=True)

    async def batch(
        self, commands: Sequence[Mapping[str, Any] | msgspec.Raw], *, dry_run: bool = False
    ) -> BatchReply:
        """Send up to 1,000 independent commands, each with `op` and `idempotency_key`; one that is
        refused raises nothing, its result says so."""
        return await self._transport.call(
            "POST",
            "/v1/batches",
            BatchReply,
            body=BatchRequest(commands=tuple(commands)),
            query=_query(dry_run=dry_run),
            repeatable=True,
            timeout_seconds=BATCH_TIMEOUT_SECONDS,
        )

    async def models(self) -> ModelsReply:
        """What can be generated, and for how many credits."""
        return await self._transport.call("GET", "/v1/models", ModelsReply)

    async def request_generation(
        self, request: GenerationRequest, *, key: str, dry_run: bool = False
    ) -> GenerationReply:
        """Ask for a generation; its price is debited in the same transaction."""
        path = "/v1/generations"
        return await self._write(path, GenerationReply, request, key, dry_run=dry_run)

    async def generation(self, generation_id: str) -> Generation:
        """Where a generation stands now."""
        path = f"/v1/generations/{segment(generation_id)}"
        return await self._transport.call("GET", path, Generation)

    async def _write(
        self,
        path: str,
        reply_type: type[Reply],
        request: Request,
        key: str,
        *,
        dry_run: bool = False,
    ) -> Reply:
        return await self._transport.call(
            "POST",
            path,
            reply_type,
            body=request,
            query=_query(dry_run=dry_run),
            idempotency_key=key,
        )


def _query(*, dry_run: bool) -> dict[str, str] | None:
    return {"dry_run": "true"} if dry_run else None


def _account(account_id: str) -> str:
    return f"/v1/accounts/{segment(account_id)}"
