"""What the oracle's ledger is made of. Times are microseconds since 1970, amounts are credits.

Single letters are those of the law: what a lot of *g* credits has become, and what each account
owes and holds on credit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

DAY: int = 86_400 * 1_000_000
OUTSIDE = ("grant", "scheduled")
"""Kinds of lots that were given or sold to the account; all others derive from something."""


class Refused(Exception):
    """A command that must be refused, with the code and the numbers that the caller is told."""

    def __init__(self, code: str, **numbers: Any) -> None:
        super().__init__(f"{code} {numbers}")
        self.code = code
        self.numbers = numbers


@dataclass(frozen=True)
class Terms:
    """The terms of a lot: they go with the credits wherever they move."""

    source: str = "promo"
    priority: int = 50
    effective_at: int = 0
    expires_at: int | None = None
    unit_cost: int | None = None
    restrict_to: frozenset[str] = frozenset()


@dataclass
class Lot:
    """One lot. `claims` are the clawback references: (as_of, amount)."""

    id: str
    order: tuple[int, bytes, int]
    kind: str
    terms: Terms
    g: int
    origin: str | None = None
    schedule: str | None = None
    r: int = 0
    h: int = 0
    s: int = 0
    p: int = 0
    x: int = 0
    v: int = 0
    c: int = 0
    t: int = 0
    target: int = 0
    a: int = 0
    q: int = 0
    y: int = 0
    f: int = 0
    is_voided: bool = False
    claims: dict[str, tuple[int, int]] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)

    @property
    def account(self) -> str:
        """The account that it lies in."""
        return self.id.rpartition("#")[0]

    @property
    def free(self) -> int:
        """Unspent and not held."""
        return self.r - self.h

    def is_over(self, now: int) -> bool:
        """Whether it has expired, booked or not."""
        return self.terms.expires_at is not None and self.terms.expires_at <= now

    def is_usable(self, now: int) -> bool:
        """Whether its free credits can be spent or moved now."""
        return self.terms.effective_at <= now and not self.is_over(now)

    def fits(self, tags: frozenset[str]) -> bool:
        """Whether it may pay for what bears these tags."""
        return not self.terms.restrict_to or bool(self.terms.restrict_to & tags)


@dataclass
class Count:
    """What a spend has added to the counter of a limit, in the window that began at `window`."""

    counter: str
    window: int
    amount: int


@dataclass
class Slice:
    """Credits taken from one lot, and how many of them came back."""

    lot: str
    amount: int
    back: int = 0


@dataclass
class Hold:
    """Credits set aside. `credit` is the part on the credit limit."""

    id: str
    amount: int
    slices: list[Slice]
    credit: int
    expires_at: int
    counts: list[Count]
    status: str = "open"
    captured: int = 0
    released: int = 0


@dataclass
class Debit:
    """Credits spent. `credit` is the part on the credit limit."""

    id: str
    amount: int
    slices: list[Slice]
    credit: int
    counts: list[Count]
    credit_back: int = 0
    refunded: int = 0


@dataclass(frozen=True)
class Limit:
    """At most `amount` per window: of all spenders together, of each one, or of the one named."""

    id: str
    amount: int
    window: str = "day"
    per_spender: bool = False
    spender: str | None = None


@dataclass
class Usage:
    """The counter of a limit: the newest window in which something was spent, and how much."""

    window: int
    used: int


@dataclass(frozen=True)
class Schedule:
    """A recurring grant. Period 0 begins at `starts_at`; periods follow its wall time."""

    id: str
    amount: int
    unit: str
    starts_at: int
    every: int = 1
    ends_at: int | None = None
    lasts: int | None = 1
    time_zone: str = "UTC"
    rollover_cap: int = 0
    source: str = "subscription"
    priority: int = 50
    unit_cost: int | None = None
    restrict_to: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Policy:
    """What a tenant has chosen."""

    grace: int = 7 * DAY
    repay_debt: bool = True
    promotional_first: bool = False
    hold_ttl: int = 900 * 1_000_000
    expires_after: dict[str, int] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()


@dataclass
class Account:
    """One account: *o* is its overdraft, *k* what is held on credit."""

    id: str
    stream: bytes
    opened_at: int
    seen_at: int = 0
    limit: int = 0
    status: str = "active"
    merged_into: str | None = None
    o: int = 0
    k: int = 0
    lots: list[Lot] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    debits: list[Debit] = field(default_factory=list)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    granted_periods: dict[str, int] = field(default_factory=dict)
    granted_until: dict[str, int] = field(default_factory=dict)  # never forgotten
    limits: tuple[Limit, ...] = ()
    usage: dict[str, Usage] = field(default_factory=dict)
    thresholds: tuple[int, ...] = ()
    granted: int = 0
    moved_in: int = 0
    moved_out: int = 0
    written_off: int = 0
    debited: int = 0
    refunded: int = 0

    @property
    def debt(self) -> int:
        """What it owes: spent on credit, and clawed back after it was gone."""
        return self.o + sum(lot.q for lot in self.lots)

    @property
    def posted(self) -> int:
        """Unspent credits less debt."""
        return sum(lot.r for lot in self.lots) - self.debt

    @property
    def held(self) -> int:
        """Under open holds."""
        return self.k + sum(lot.h for lot in self.lots)

    def idle(self, now: int) -> int:
        """Free credits that cannot be spent now: expired and not booked, or not effective yet."""
        return sum(lot.free for lot in self.lots if not lot.is_usable(now))

    def available(self, now: int) -> int:
        """What a spend that fits every lot may take now."""
        return self.posted - self.held - self.idle(now) + self.limit

    def balance(self, now: int) -> dict[str, int]:
        """The balance as the API tells it."""
        return {
            "posted": self.posted,
            "held": self.held,
            "available": self.available(now),
            "debt": self.debt,
            "credit_limit": self.limit,
            "pending_expiry": sum(lot.free for lot in self.lots if lot.is_over(now)),
        }

    def lot(self, lot_id: str) -> Lot | None:
        """One of its lots."""
        return next((lot for lot in self.lots if lot.id == lot_id), None)


def stream_digest(owner: str) -> bytes:
    """The part of an id that names the stream (decision 4); it orders ids of one millisecond."""
    return hashlib.sha256(owner.encode()).digest()[:8]
