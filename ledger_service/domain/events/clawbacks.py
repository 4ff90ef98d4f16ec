"""Events of credits taken back, voided, forgiven and freed.

Letters in the comments are those of the equations in `account/equations.py`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ledger_service.domain.events.account import AccountEvent, Slice


class ClawbackAfter(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How a grant's target is met; the parts add up to it."""

    target: int  # T
    taken: int  # c
    absorbed: int  # a
    owed: int  # q
    repaid: int  # y
    forwarded: int  # f


class GrantAfter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A grant as it stands after an event; what its first answer showed is made of it."""

    grant_id: str
    amount: int
    remaining: int
    held: int = 0
    spent: int = 0
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None = None
    unit_cost_micros: int | None = None
    currency: str | None = None
    restrict_to: tuple[str, ...] = ()
    reference: str | None = None
    private: str | None = None
    created_at: datetime
    kind: str = "grant"
    origin: str | None = None
    from_account: str | None = None
    is_voided: bool = False
    clawback: ClawbackAfter | None = None


class GrantClawedBack(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Under `reference`, `claim` credits of a lot are to be taken back in all, as of `as_of`.

    Everything else is as after the event: the lot's target is `target` = `clawed_back` +
    `absorbed` + `owed` + `repaid` + `forwarded`. `amount` is what the account's posted balance
    lost by it, or gained if `is_reversal`. `reinstated` credits come back as a lot of their own
    (the `LotDerived` that follows). `is_stale`: something newer was known under the reference
    already, and nothing changed. `origin_owner`: the claim came down from the lot `reference` of
    that account, from which this one was derived.
    """

    grant_id: str
    reference: str
    as_of: datetime
    claim: int
    target: int = 0  # T
    clawed_back: int = 0  # c
    absorbed: int = 0  # a
    owed: int = 0  # q
    repaid: int = 0  # y
    forwarded: int = 0  # f
    amount: int = 0
    is_reversal: bool = False
    reinstated: int = 0
    is_stale: bool = False
    origin_owner: str | None = None
    grant: GrantAfter | None = None
    reason: str | None = None
    private: str | None = None


class CreditsReclaimed(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits that became free in lots with open debt went to that debt (r→c, q less)."""

    amount: int
    slices: tuple[Slice, ...]


class GrantVoided(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The free part of a lot (`amount`) ended early; what comes back to it later ends as well."""

    grant_id: str
    amount: int = 0
    grant: GrantAfter | None = None
    reason: str | None = None
    private: str | None = None


class GrantExpiryChanged(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A lot that was not over yet ends at another time; null: never."""

    grant_id: str
    expires_at: datetime | None = None
    grant: GrantAfter | None = None
    reason: str | None = None
    private: str | None = None


class CreditsVoided(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits that came back to voided lots are gone (r→v)."""

    amount: int
    slices: tuple[Slice, ...]


class DebtWrittenOff(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An operator forgave debt: `owed` by lot, the rest of `amount` from the overdraft."""

    amount: int
    owed: tuple[Slice, ...] = ()
    reason: str | None = None
    private: str | None = None
