"""A command's events as they are being decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ledger_service.domain.account.evolve import evolve
from ledger_service.domain.account.limits import window_of
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.answering import answer_of
from ledger_service.domain.commands import Command, Key
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import (
    AccountEvent,
    DebitRefunded,
    LotDerived,
)
from ledger_service.domain.events.generation import GenerationEvent, GenerationFlagged
from ledger_service.domain.events.policy import PolicySet
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.ids import make_id, owner_of, split_owner
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import (
    DebitState,
    Decision,
    HoldState,
    LotKey,
    NewEvent,
    TenantCrowd,
    TenantDay,
    World,
)


class Draft:
    """Collects events on top of a world without changing it; `finish` in finishing.py makes the
    decision of it."""

    def __init__(self, world: World, command: Command, now: datetime) -> None:
        self.now = now
        self.policy = world.policy_of(command.owner)
        self._command = command
        self._world = world
        self._events: list[_Drafted] = []
        self._accounts: dict[str, AccountState | None] = {}
        self._generations: dict[str, GenerationState | None] = {}
        self._jobs: dict[str, Job] = {}
        self._debits: dict[str, DebitState | None] = {}
        self._holds: dict[str, HoldState] = {}
        self._settled: set[str] = set()
        self._derived: list[tuple[LotKey, LotKey]] = []
        self._policies: dict[str, PolicyState] = {}
        self._tenant_day: TenantDay | None = None
        self._tenant_crowd: TenantCrowd | None = None
        self._answering: int | None = None

    def account(self, owner: str) -> AccountState | None:
        """The account as it stands within this draft."""
        if owner in self._accounts:
            return self._accounts[owner]
        return self._world.accounts[owner]

    def is_loaded(self, owner: str) -> bool:
        """Whether the account is at hand (or known not to exist)."""
        return owner in self._world.accounts

    def touched(self) -> list[str]:
        """Accounts that this draft has changed, in the order of their first event."""
        return list(self._accounts)

    def begins_to_settle(self, owner: str) -> bool:
        """True the first time that it is asked of an account."""
        if owner in self._settled:
            return False
        self._settled.add(owner)
        return True

    def next_version(self, owner: str) -> int:
        """The version that the account's next event will have."""
        state = self.account(owner)
        return state.version + 1 if state else 1

    def next_id(self, prefix: str, owner: str) -> str:
        """The id of what the account's next event brings about."""
        return make_id(prefix, self.now, owner, self.next_version(owner))

    def record(self, owner: str, event: AccountEvent, key: Key | None = None) -> AccountState:
        """Append an account event, stamped with the balances after it."""
        before = self.account(owner)
        version = before.version + 1 if before else 1
        state = evolve(before, event, version, self.now)
        balances = {"posted": state.posted, "held": state.held}
        self._events.append(_Drafted(owner, owner, version, event, key, balances))
        self._accounts[owner] = state
        if isinstance(event, LotDerived) and event.origin is not None:
            self._note_origin(owner, event, event.origin)
        return state

    def _note_origin(self, owner: str, event: LotDerived, origin: str) -> None:
        home = owner
        if event.from_account is not None:
            home = owner_of(split_owner(owner)[0], event.from_account)
        self._derived.append(((home, origin), (owner, event.grant_id)))

    def derived_from(self, lot: LotKey) -> list[LotKey]:
        """Lots that came from a lot, those of this draft included, in the order of their ids."""
        here = [made for origin, made in self._derived if origin == lot]
        return sorted({*self._world.derived_from(lot), *here}, key=lambda key: (key[1], key[0]))

    def record_generation(self, stream: str, owner: str, event: GenerationEvent) -> GenerationState:
        """Append a generation event."""
        before = self.generation(stream)
        version = before.version + 1 if before else 1
        state = evolve_generation(before, event, version, self.now, owner=owner)
        self._events.append(_Drafted(owner, stream, version, event, None, {}))
        self._generations[stream] = state
        return state

    def generation(self, stream: str) -> GenerationState | None:
        """The generation as it stands within this draft."""
        if stream in self._generations:
            return self._generations[stream]
        return self._world.generations.get(stream)

    def keep_job(self, job: Job) -> None:
        """Set the mechanical row beside a generation."""
        self._jobs[job.generation_id] = job

    def count_begun(self) -> None:
        """One more of its tenant's, where those of a day or under way are bounded."""
        tenant = split_owner(self._command.owner)[0]
        per_day = self.policy.tenant_generations_per_day_max
        if per_day is not None:
            day, _ = window_of("day", self.now)
            self._tenant_day = TenantDay(tenant, day, per_day)
        at_once = self.policy.tenant_generations_in_flight_max
        if at_once is not None:
            self._tenant_crowd = TenantCrowd(tenant, self._world.full_at(tenant, at_once) - 1)

    def keep_debit(self, debit: DebitState) -> None:
        """Set what has been refunded of a debit."""
        self._debits[debit.debit_id] = debit

    def keep_hold(self, hold: HoldState) -> None:
        """Set a hold as it is now."""
        self._holds[hold.hold.hold_id] = hold

    def record_policy(self, event: PolicySet) -> PolicyState:
        """Append to the tenant's policy stream."""
        owner = self._command.owner
        tenant = split_owner(owner)[0]
        before = self._world.policies.get(tenant)
        version = before.version + 1 if before else 1
        state = PolicyState(version=version, recorded_at=self.now, policy=event.policy)
        self._events.append(_Drafted(owner, owner, version, event, None, {}))
        self._policies[tenant] = state
        return state

    def decision(self, *, http_status: int, result: Any, completed: dict[str, Any]) -> Decision:
        """All of it. The event marked by `answer_here`, or else the last one, bears the answer to
        a keyed command; `completed` are those of its fields that tell of the command's end."""
        answer_at = None
        if self._command.key is not None:
            answer_at = self._answer(http_status, completed)
        return Decision(
            events=tuple([drafted.stamped() for drafted in self._events]),
            accounts=self._accounts,
            generations=self._generations,
            jobs=self._jobs,
            debits=self._debits,
            holds=self._holds,
            derived=tuple(self._derived),
            policies=self._policies,
            tenant_day=self._tenant_day,
            tenant_crowd=self._tenant_crowd,
            answer_at=answer_at,
            result=result,
        )

    def last_refund(self) -> DebitRefunded | None:
        """The refund that this draft records, if any."""
        refunds = [it.event for it in self._events if isinstance(it.event, DebitRefunded)]
        return refunds[-1] if refunds else None

    def answer_here(self) -> None:
        """The event recorded last is the one that bears the command's answer."""
        self._answering = len(self._events) - 1

    def _answer(self, http_status: int, fields: dict[str, Any]) -> int:
        key, owner = self._command.key, self._command.owner
        state = self.account(owner)
        assert key is not None
        assert state is not None
        at = len(self._events) - 1 if self._answering is None else self._answering
        bearer = self._events[at]
        assert isinstance(bearer.event, AccountEvent | GenerationFlagged)
        trailing = len(self._events) - 1 - at
        bearer.key = key
        bearer.stamps |= fields
        bearer.stamps["command"] = answer_of(
            state, key, self.now, http_status=http_status, trailing=trailing
        )
        return at


class _Drafted:
    """An event that lacks what is known only at the command's end: `stamps`, by field."""

    __slots__ = ("event", "key", "owner", "stamps", "stream", "version")

    def __init__(
        self,
        owner: str,
        stream: str,
        version: int,
        event: Event,
        key: Key | None,
        stamps: dict[str, Any],
    ) -> None:
        self.owner = owner
        self.stream = stream
        self.version = version
        self.event = event
        self.key = key
        self.stamps = stamps

    def stamped(self) -> NewEvent:
        """The event as it will be recorded."""
        event = replace(self.event, **self.stamps) if self.stamps else self.event
        return NewEvent(self.owner, self.stream, self.version, event, self.key)
