"""Balances of one side against those of the ledger, account by account."""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from contracts.client import LedgerRejected, LedgerUnavailable
from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.importing.remote import Remote

AT_ONCE: Final = 8
"""As many reads at a time as the client has connections."""
DIFFERENCES_MAX: Final = 10_000
"""How many differences are listed; all of them are counted."""


class Figure(enum.StrEnum):
    """Which of the ledger's balances is compared."""

    POSTED = "posted"
    AVAILABLE = "available"


class Pair(NamedTuple):
    """An account's balance there and here; `ours` is null when the ledger has no such account."""

    account_id: str
    theirs: int
    ours: int | None

    @property
    def is_equal(self) -> bool:
        """No account is as good as an empty one."""
        return (self.ours or 0) == self.theirs


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An account whose balances differ; `ledger` is null when it is not there."""

    account_id: str
    file: int
    ledger: int | None


class Comparison(msgspec.Struct, kw_only=True):
    """The outcome. `missing` accounts are not in the ledger though they should have credits."""

    accounts: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    file_credits: int = 0
    ledger_credits: int = 0
    differences: list[Difference] = msgspec.field(default_factory=list)
    differences_left_out: int = 0

    def add(self, pair: Pair) -> None:
        """Count one account in."""
        self.accounts += 1
        self.file_credits += pair.theirs
        self.ledger_credits += pair.ours or 0
        if pair.is_equal:
            self.equal += 1
            return
        if pair.ours is None:
            self.missing += 1
        else:
            self.different += 1
        if len(self.differences) == DIFFERENCES_MAX:
            self.differences_left_out += 1
            return
        self.differences.append(
            Difference(account_id=pair.account_id, file=pair.theirs, ledger=pair.ours)
        )


async def compare(
    remote: Remote, balances: Iterable[tuple[str, int]], progress: Callable[[int], None]
) -> Comparison:
    """Read every account of the file in the ledger. Raises like `pairs`."""
    comparison = Comparison()
    async for pair in pairs(remote, balances, Figure.POSTED):
        comparison.add(pair)
        progress(comparison.accounts)
    return comparison


async def pairs(
    remote: Remote, balances: Iterable[tuple[str, int]], figure: Figure
) -> AsyncIterator[Pair]:
    """Both balances of each account, in order. Raises `Unavailable`, `RefusedToStart`."""
    left = iter(balances)

    async def one(account_id: str, theirs: int) -> Pair:
        found = await remote.balance(account_id)
        ours = None if found is None else int(getattr(found, figure))
        return Pair(account_id, theirs, ours)

    while chunk := list(itertools.islice(left, AT_ONCE * 8)):
        try:
            found = await asyncio.gather(*(one(*balance) for balance in chunk))
        except LedgerRejected as error:
            raise RefusedToStart(f"the ledger refused: {error}") from None
        except LedgerUnavailable as error:
            raise Unavailable(f"the ledger: {error}") from None
        for pair in found:
            yield pair
