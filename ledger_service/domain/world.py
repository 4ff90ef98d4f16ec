"""What decisions are made from, and what they are.

A `World` holds the loaded states. Deciding a command yields a `Decision` (new events and the
states after them), a `Refusal` (nothing changes) or a `Need` (load this, then ask again).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from contracts.problems import ProblemCode
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import Key
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import (
    CreditsDebited,
    CreditsGranted,
    LimitUse,
    LotDerived,
    Slice,
)
from ledger_service.domain.events.holds import HoldAfter, HoldCaptured
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.policy import DEFAULT_POLICY, Policy, PolicyState


class DebitState(msgspec.Struct, frozen=True, kw_only=True):
    """A debit and what has been given back of it so far, in credits."""

    debit_id: str
    amount: int
    slices: tuple[Slice, ...]
    on_credit: int
    refunded: int
    slices_refunded: tuple[int, ...]
    credit_refunded: int
    generation_id: str | None
    limits: tuple[LimitUse, ...] = ()

    @property
    def left(self) -> int:
        """Credits that can still be refunded."""
        return self.amount - self.refunded


Debiting = CreditsDebited | HoldCaptured
"""Events that make a debit."""


def debit_state(event: Debiting, given_back: Sequence[int] | None) -> DebitState:
    """A debit from its event and from what was given back so far: per slice, then on credit."""
    *slices, credit = given_back or [0] * (len(event.slices) + 1)
    return DebitState(
        debit_id=event.debit_id,
        amount=event.amount,
        slices=event.slices,
        on_credit=event.on_credit,
        refunded=sum(slices) + credit,
        slices_refunded=tuple(slices),
        credit_refunded=credit,
        generation_id=event.generation_id if isinstance(event, CreditsDebited) else None,
        limits=event.limits,
    )


class HoldState(msgspec.Struct, frozen=True, kw_only=True):
    """A hold, open or not, with what it holds. Stored as JSON in a row of its own."""

    owner: str
    hold: HoldAfter
    slices: tuple[Slice, ...]
    on_credit: int = 0
    limits: tuple[LimitUse, ...] = ()

    @property
    def is_open(self) -> bool:
        """Neither captured nor released nor expired."""
        return self.hold.status == "open"


class GrantFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What only the event that made a lot knows."""

    event: CreditsGranted | LotDerived
    created_at: datetime


LotKey = tuple[str, str]
"""(owner, grant id)."""


class World:
    """Loaded states by stream or id; a stream that is known not to exist maps to None."""

    __slots__ = (
        "_begun_here",
        "_derived_here",
        "_more_in_flight",
        "accounts",
        "begun",
        "crowds",
        "cut_open_holds",
        "debits",
        "derived",
        "generations",
        "grants",
        "holds",
        "in_flight",
        "jobs",
        "open_holds",
        "policies",
    )

    def __init__(self) -> None:
        self.policies: dict[str, PolicyState] = {}  # by tenant
        self.accounts: dict[str, AccountState | None] = {}
        self.generations: dict[str, GenerationState | None] = {}
        self.jobs: dict[str, Job] = {}
        self.debits: dict[str, DebitState | None] = {}
        self.holds: dict[str, HoldState | None] = {}
        self.open_holds: dict[tuple[str, str], tuple[str, ...]] = {}  # ids by owner, reference
        self.cut_open_holds: set[tuple[str, str]] = set()  # those of which there are more
        self.in_flight: dict[str, frozenset[str]] = {}  # ids by owner, as they were stored
        self.crowds: dict[str, tuple[int, int]] = {}  # by tenant: how many, and counted how far
        self._more_in_flight: Counter[str] = Counter()  # by tenant, in this batch
        self.begun: dict[tuple[str, str], int] = {}  # by owner or tenant, and day, as stored
        self._begun_here: Counter[tuple[str, str]] = Counter()
        self.grants: dict[LotKey, GrantFacts | None] = {}
        self.derived: dict[LotKey, tuple[LotKey, ...]] = {}  # lots by the lot they came from
        self._derived_here: dict[LotKey, list[LotKey]] = {}

    def policy_of(self, owner: str) -> Policy:
        """The policy of the owner's tenant."""
        found = self.policies.get(owner.partition("/")[0])
        return found.policy if found else DEFAULT_POLICY

    def derived_from(self, lot: LotKey) -> list[LotKey]:
        """Lots that came from a lot, those of this batch included, in the order of their ids."""
        found = {*self.derived[lot], *self._derived_here.get(lot, ())}
        return sorted(found, key=lambda key: (key[1], key[0]))

    def has_open_holds(self, owner: str, reference: str, most: int) -> bool:
        """Whether all open holds with a reference are known, or the oldest `most` of them."""
        known = self.open_holds.get((owner, reference))
        if known is None or (owner, reference) not in self.cut_open_holds:
            return known is not None
        holds = [self.holds[hold_id] for hold_id in known]
        return sum([hold is not None and hold.is_open for hold in holds]) >= most

    def open_holds_of(self, owner: str, reference: str) -> list[HoldState]:
        """Open holds with a reference, those of this batch included, the oldest first."""
        found = [hold for hold in self.holds_with(owner, reference) if hold.is_open]
        return sorted(found, key=lambda hold: hold.hold.hold_id)

    def holds_with(self, owner: str, reference: str) -> list[HoldState]:
        """Holds with a reference that are known here, open or not."""
        return [
            hold
            for hold in self.holds.values()
            if hold and hold.owner == owner and hold.hold.reference == reference
        ]

    def in_flight_of(self, owner: str) -> int | None:
        """How many of the account's generations have not ended, with what this batch has begun and
        ended; None when that has yet to be loaded."""
        stored = self.in_flight.get(owner)
        if stored is None:
            return None
        here = [job for job in self.jobs.values() if job.owner == owner]
        ended = {job.generation_id for job in here if job.due_at is None}
        return len((stored | {job.generation_id for job in here}) - ended)

    def full_at(self, tenant: str, limit: int) -> int:
        """How many of a tenant's generations, under way before this batch, leave no room for one
        more after what it has begun and ended."""
        return limit - self._more_in_flight[tenant]

    def crowd_of(self, tenant: str, limit: int) -> int | None:
        """How many of the tenant's generations have not ended, with what this batch has begun and
        ended; there may be more from `limit` on. None when that has yet to be loaded."""
        stored, counted_to = self.crowds.get(tenant, (0, 0))
        if stored == counted_to < self.full_at(tenant, limit):
            return None
        return stored + self._more_in_flight[tenant]

    def begun_on(self, whose: str, day: str) -> int | None:
        """How many generations an account (its owner) or a tenant has begun on a day, those of this
        batch included; None when that has yet to be loaded."""
        stored = self.begun.get((whose, day))
        return None if stored is None else stored + self._begun_here[whose, day]

    def apply(self, decision: Decision) -> None:
        """Take over the states after an accepted command."""
        for job in decision.jobs.values():
            self._count(job, self.jobs.get(job.generation_id))
        self.accounts.update(decision.accounts)
        self.generations.update(decision.generations)
        self.jobs.update(decision.jobs)
        self.debits.update(decision.debits)
        self.holds.update(decision.holds)
        for origin, lot in decision.derived:
            self._derived_here.setdefault(origin, []).append(lot)
        self.policies.update(decision.policies)

    def _count(self, job: Job, before: Job | None) -> None:
        tenant = job.owner.partition("/")[0]
        if before is None:
            self._begun_here[job.owner, job.begun_on] += 1
            self._begun_here[tenant, job.begun_on] += 1
        was_in_flight = before is not None and before.due_at is not None
        self._more_in_flight[tenant] += (job.due_at is not None) - was_in_flight


class NewEvent(msgspec.Struct, frozen=True):
    """An event to append, with the place it takes in its stream."""

    owner: str
    stream: str
    version: int
    event: Event
    key: Key | None


class TenantDay(NamedTuple):
    """A day of a tenant on which no more than `most` generations may be begun."""

    tenant: str
    day: str
    most: int


class TenantCrowd(NamedTuple):
    """A tenant of which no more than `most` generations may have been under way before the batch
    for one more to have room."""

    tenant: str
    most: int


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted command: its events in order, the states after it, and what to answer.

    `answer_at` is the index of the event that bears the command's answer, if it has a key;
    `result` is what an unkeyed command tells its caller, `tenant_day` and `tenant_crowd` where a
    generation counts.
    """

    events: tuple[NewEvent, ...] = ()
    accounts: dict[str, AccountState | None] = {}
    generations: dict[str, GenerationState | None] = {}
    jobs: dict[str, Job] = {}
    debits: dict[str, DebitState | None] = {}
    holds: dict[str, HoldState] = {}
    derived: tuple[tuple[LotKey, LotKey], ...] = ()
    policies: dict[str, PolicyState] = {}
    tenant_day: TenantDay | None = None
    tenant_crowd: TenantCrowd | None = None
    answer_at: int | None = None
    result: Any = None


class Refusal(msgspec.Struct, frozen=True):
    """A command that cannot be carried out, with the true numbers."""

    code: ProblemCode
    fields: dict[str, Any] = {}


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Load these and decide again.

    Further streams; debits, lots, holds and grants as (owner, id); open holds as (owner,
    reference); `derived`: the lots that came from lots (owner, id); `all_lots`: all live lots of
    accounts (owner); `in_flight`: which generations of accounts (owner) have not ended;
    `crowds`: how many of a tenant's have not, counted so far (tenant, number); `begun`: how many
    an account (owner) or a tenant has begun on a day.
    """

    streams: frozenset[str] = frozenset()
    debits: frozenset[tuple[str, str]] = frozenset()
    lots: frozenset[LotKey] = frozenset()
    all_lots: frozenset[str] = frozenset()
    holds: frozenset[tuple[str, str]] = frozenset()
    open_holds: frozenset[tuple[str, str]] = frozenset()
    in_flight: frozenset[str] = frozenset()
    crowds: frozenset[tuple[str, int]] = frozenset()
    begun: frozenset[tuple[str, str]] = frozenset()
    grants: frozenset[LotKey] = frozenset()
    derived: frozenset[LotKey] = frozenset()


def one(kind: str, *wanted: Any) -> Need:
    """Need of one thing."""
    return Need(**{kind: frozenset(wanted)})


Outcome = Decision | Refusal | Need
