"""The calls that an import makes, and what their answers mean for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from contracts.api.accounts import Balance
from contracts.client import LedgerClient, LedgerRejected
from contracts.problems import ProblemCode

COMMANDS_MAX: Final = 1_000
BATCH_MAX_BYTES: Final = 900 * 1024
"""Below the ledger's own bound of 1 MiB by what surrounds the commands."""
TIMEOUT_SECONDS: Final = 60.0
"""A batch of a thousand is more work than a call, and must not be repeated while it is done."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Commands that do not depend on one another."""

    commands: Sequence[msgspec.Raw]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint of the command itself would have answered."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


class BatchReply(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each command, in their order."""

    results: list[Result]


class Remote(LedgerClient):
    """A ledger that is imported into, or compared with."""

    async def carry_out(
        self, commands: Sequence[msgspec.Raw], *, dry_run: bool = False
    ) -> list[Result]:
        """One result for each command. Raises `LedgerRejected`, `LedgerUnavailable`."""
        query = {"dry_run": "true"} if dry_run else None
        reply = await self._transport.call(
            "POST", "/v1/batches", BatchReply, body=Batch(commands=commands), query=query,
            repeatable=True, timeout_seconds=TIMEOUT_SECONDS,
        )  # fmt: skip
        assert len(reply.results) == len(commands)
        return reply.results

    async def balance(self, account_id: str) -> Balance | None:
        """An account's balance; null when there is no such account."""
        try:
            return (await self.account(account_id)).balance
        except LedgerRejected as error:
            if error.code == ProblemCode.ACCOUNT_NOT_FOUND:
                return None
            raise
