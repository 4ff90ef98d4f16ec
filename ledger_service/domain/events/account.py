"""Events on account streams. They are storage: a published version never changes its meaning.

Every event carries the balances after it (`posted`, `held`). The event that bears a command's
idempotency key also carries what its first answer said (`command`), so that a replay is the
first answer byte for byte.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from contracts.api.accounts import AccountStatus
from contracts.api.prices import PriceLine
from contracts.jobs import JobPriority


class Slice(msgspec.Struct, frozen=True, array_like=True):
    """Credits taken from, or given back to, one lot."""

    grant_id: str
    amount: int


class LimitUse(msgspec.Struct, frozen=True, array_like=True):
    """A spend limit that a spend counts towards: the counter's name, and the window it fell in
    (`2030-01-31`, `2030-01`, or empty for the whole life of the account)."""

    counter: str
    window: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the first answer to a keyed command said of the account.

    All of it is as after the whole command, of which `trailing` events follow this one. `reply`
    is the version of the render function that made the answer.
    """

    key: str
    http_status: int
    reply: int
    version: int
    posted: int
    held: int
    available: int
    debt: int
    credit_limit: int
    pending_expiry: int
    status: AccountStatus
    unit: str
    opened_at: datetime
    trailing: int = 0
    merged_into: str | None = None


class AccountEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of account events: balances after the event, in credits."""

    posted: int = 0
    held: int = 0
    command: Answer | None = None


class AccountOpened(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An account began to exist. `private` is the digest of what the vault holds for it."""

    tenant: str
    account_id: str
    unit: str
    credit_limit: int = 0
    private: str | None = None


class CreditLimitChanged(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The account may now go this far below zero by spending."""

    credit_limit: int


class CreditsGranted(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits came from outside as a new lot; `repaid` of them went straight to debt: first to
    what clawbacks had left open (`repaid_owed`, by lot), the rest to the overdraft.

    `schedule` and `period` name the recurring grant that this is, `is_adjustment` says that an
    operator made it, `is_opening` that an import did.
    """

    grant_id: str
    amount: int
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None = None
    unit_cost_micros: int | None = None
    currency: str | None = None
    restrict_to: tuple[str, ...] = ()
    repaid: int = 0
    repaid_owed: tuple[Slice, ...] = ()
    reference: str | None = None
    reason: str | None = None
    schedule: str | None = None
    period: int | None = None
    next_period_at: datetime | None = None
    is_adjustment: bool = False
    private: str | None = None


class CreditsDebited(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits were spent: `slices` in the order taken, then `on_credit`.

    `limits` names the spend limits that it counts towards; `price_line`, `quote_id`, `theme` and
    `priority` are those of its generation, for the first answer.
    """

    debit_id: str
    amount: int
    slices: tuple[Slice, ...]
    on_credit: int = 0
    reason: str | None = None
    tags: tuple[str, ...] = ()
    reference: str | None = None
    generation_id: str | None = None
    model: str | None = None
    limits: tuple[LimitUse, ...] = ()
    is_adjustment: bool = False
    private: str | None = None
    price_line: PriceLine | None = None
    quote_id: str | None = None
    theme: str | None = None
    priority: JobPriority = JobPriority.NORMAL


class DebitRefunded(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits of one debit came back: into their lots, and off the overdraft.

    `restored` of them had been repaid meanwhile and come back as a lot of their own (the
    `LotDerived` that follows). `slices_refunded`, `credit_refunded` and `refunded` are the
    debit's running totals after this refund.
    """

    refund_id: str
    debit_id: str
    amount: int
    slices: tuple[Slice, ...]
    debt_cancelled: int = 0
    restored: int = 0
    debit_amount: int
    refunded: int
    slices_refunded: tuple[int, ...]
    credit_refunded: int = 0
    reason: str | None = None
    generation_id: str | None = None
    limits: tuple[LimitUse, ...] = ()
    private: str | None = None


class LotDerived(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Credits live on in a new lot. `kind` says how they came:

    - `grace`, `rollover`: moved from `origin`, a lot of this account;
    - `transfer`: moved from `origin`, a lot of the account `from_account`;
    - `restored`: a refund of credits that had gone to debt, which was repaid meanwhile;
    - `reinstated`: a clawback was reversed whose debt had been repaid meanwhile.

    `repaid` of a transferred, restored or reinstated lot went straight to debt, as with a grant.
    """

    grant_id: str
    kind: str
    origin: str | None = None
    from_account: str | None = None
    transfer_id: str | None = None
    schedule: str | None = None
    amount: int
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None = None
    unit_cost_micros: int | None = None
    restrict_to: tuple[str, ...] = ()
    repaid: int = 0
    repaid_owed: tuple[Slice, ...] = ()


class CreditsExpired(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The free part of lots whose time has come is gone."""

    amount: int
    slices: tuple[Slice, ...]


class CommandAccepted(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A keyed command took effect without moving credits here; this row keeps its answer."""

    generation_id: str | None = None
    model: str | None = None
    reference: str | None = None
    private: str | None = None
    price_line: PriceLine | None = None
    quote_id: str | None = None
    theme: str | None = None
    priority: JobPriority = JobPriority.NORMAL


class CommandVoided(AccountEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing was ever done under this idempotency key, and now nothing ever will be."""
