"""Events of credits and debts that go from one account to another.

A transfer is one transaction over both streams. The lots arrive as `LotDerived` of kind
`transfer`, one event each.
"""

from __future__ import annotations

from ledger_service.domain.events.account import AccountEvent, Slice


class CreditsTransferredOut(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits left for `to_account`: `slices` of lots here, and the ids of the lots there.

    `is_onward`: this account was merged, and what came to it went on by itself.
    """

    transfer_id: str
    to_account: str
    amount: int
    slices: tuple[Slice, ...]
    derived: tuple[str, ...]
    is_merge: bool = False
    is_onward: bool = False
    reason: str | None = None
    private: str | None = None


class DebtForwarded(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`to_account` took over this account's debt: `owed` by lot, the rest from the overdraft.

    In credits: they came from there and repaid it.
    """

    to_account: str
    amount: int
    owed: tuple[Slice, ...] = ()


class DebtAssumed(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """This account took over the debt of `from_account`, as overdraft."""

    from_account: str
    amount: int


class AccountMerged(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """From now on everything that comes to this account goes on to `merged_into`.

    `transfer_id` is that of the merge; `moved` credits went with it.
    """

    merged_into: str
    transfer_id: str
    moved: int = 0
    reason: str | None = None
    private: str | None = None
