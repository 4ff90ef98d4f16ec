"""The calls that an import makes, and what their answers mean for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.api.accounts import Balance
from contracts.api.batches import BatchResult
from contracts.client import LedgerClient, LedgerRejected
from contracts.limits import BATCH_BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.errors import RefusedToStart

COMMANDS_MAX_BYTES: Final = BATCH_BODY_MAX_BYTES - 1024
"""What a batch's body has room for beside what surrounds its commands."""


class Remote(LedgerClient):
    """A ledger that is imported into, or compared with."""

    async def carry_out(
        self, commands: Sequence[msgspec.Raw], *, dry_run: bool = False
    ) -> tuple[BatchResult, ...]:
        """One result for each command. Raises `LedgerUnavailable`, and `RefusedToStart` when the
        key may not do what is asked: then every row would be refused."""
        try:
            results = (await self.batch(commands, dry_run=dry_run)).results
        except LedgerRejected as error:
            raise RefusedToStart(f"the ledger refused: {error}") from None
        for result in results:
            if result.status == 403:
                raise RefusedToStart("the ledger refused: forbidden; the key lacks a scope")
        return results

    async def balance(self, account_id: str) -> Balance | None:
        """An account's balance; null when there is no such account. Raises `LedgerRejected`,
        `LedgerUnavailable`."""
        try:
            return (await self.account(account_id)).balance
        except LedgerRejected as error:
            if error.code == ProblemCode.ACCOUNT_NOT_FOUND:
                return None
            raise
