"""Events of holds: credits set aside for a spend whose final size is not known yet."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ledger_service.domain.events.account import AccountEvent, LimitUse, Slice


class HoldAfter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hold as it stands after an event; what its first answer showed is made of it.

    `private` is the digest of what the vault has kept since it was placed.
    """

    hold_id: str
    amount: int
    captured: int = 0
    released: int = 0
    status: str
    expires_at: datetime
    reason: str | None = None
    reference: str | None = None
    tags: tuple[str, ...] = ()
    private: str | None = None
    created_at: datetime


class HoldPlaced(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits were set aside: `slices` in burn order, then `on_credit`."""

    hold: HoldAfter
    slices: tuple[Slice, ...]
    on_credit: int = 0
    limits: tuple[LimitUse, ...] = ()


class HoldEnded(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what ends a hold. `freed` and `freed_on_credit` are no longer held and unspent."""

    hold: HoldAfter
    freed: tuple[Slice, ...] = ()
    freed_on_credit: int = 0
    limits: tuple[LimitUse, ...] = ()


class HoldCaptured(HoldEnded, frozen=True, kw_only=True, omit_defaults=True):
    """`slices` and `on_credit` of the hold became a debit of `amount`, the rest was freed."""

    debit_id: str
    amount: int
    slices: tuple[Slice, ...]
    on_credit: int = 0


class HoldReleased(HoldEnded, frozen=True, kw_only=True, omit_defaults=True):
    """The caller wants nothing of it any more."""


class HoldExpired(HoldEnded, frozen=True, kw_only=True, omit_defaults=True):
    """Nobody captured or released it in time."""


class HoldExtended(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """It ends later than before."""

    hold: HoldAfter


class HoldsReleased(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Open holds with one reference were released together; `freed` is the sum over them.

    `has_more` says that there were more of them than one command takes.
    """

    reference: str
    holds: tuple[Slice, ...]  # (hold id, amount)
    freed: tuple[Slice, ...]
    freed_on_credit: int = 0
    limits: tuple[tuple[LimitUse, int], ...] = ()
    has_more: bool = False
    reason: str | None = None
    private: str | None = None
