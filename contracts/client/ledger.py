"""The calls of an app's backend: credits in, credits out, generations, and all the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from contracts.api.accounts import Account
from contracts.api.batches import BatchReply, BatchRequest
from contracts.api.commands import CommandOutcome
from contracts.api.debits import DebitReply, DebitRequest, RefundReply, RefundRequest
from contracts.api.grants import GrantReply, GrantRequest
from contracts.client.generations import GenerationCalls
from contracts.client.holds import HoldCalls
from contracts.client.operating import OperatingCalls
from contracts.client.tenant import account_path, dry_run_query
from contracts.client.transport import segment

BATCH_TIMEOUT_SECONDS: Final = 30.0


class LedgerClient(GenerationCalls, HoldCalls, OperatingCalls):
    """One tenant's view of the ledger. Every method raises `LedgerRejected`, `LedgerUnavailable`.

    `key` is the idempotency key: the same key with the same request is one effect and one answer,
    so a caller that got `LedgerUnavailable` asks again with the same key. With `dry_run` the reply
    tells what would happen; nothing does, and the key is not used.
    """

    async def account(self, account_id: str, *, min_position: int | None = None) -> Account:
        """An account with its balance, not older than `min_position` in the log."""
        return await self._read(account_path(account_id), Account, min_position=min_position)

    async def grant(
        self, account_id: str, request: GrantRequest, *, key: str, dry_run: bool = False
    ) -> GrantReply:
        """Give credits; the first grant opens the account."""
        path = f"{account_path(account_id)}/grants"
        return await self._write(path, GrantReply, request, key, dry_run=dry_run)

    async def debit(
        self, account_id: str, request: DebitRequest, *, key: str, dry_run: bool = False
    ) -> DebitReply:
        """Spend credits; `insufficient_credits` carries `available`, `required`, `shortfall`."""
        path = f"{account_path(account_id)}/debits"
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
        path = f"{account_path(account_id)}/debits/{segment(debit_id)}/refunds"
        return await self._write(path, RefundReply, request, key, dry_run=dry_run)

    async def void_command(self, account_id: str, key: str) -> CommandOutcome:
        """Make sure that nothing comes of the command with this key, unless it took effect already:
        `voided` tells which."""
        path = f"{account_path(account_id)}/commands/{segment(key)}/void"
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
            query=dry_run_query(dry_run=dry_run),
            repeatable=True,
            timeout_seconds=BATCH_TIMEOUT_SECONDS,
        )
