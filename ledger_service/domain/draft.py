"""A command's events as they are being decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ledger_service.domain.account.balance import blocked, unbooked
from ledger_service.domain.account.evolve import evolve
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import Command, Key
from ledger_service.domain.events.account import AccountEvent, Answer, DebitRefunded
from ledger_service.domain.events.generation import GenerationEvent
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.ids import make_id
from ledger_service.domain.world import DebitState, Decision, NewEvent, World

REPLY_VERSION = 1
"""The render functions that make first answers today; replays use the one recorded."""


class Draft:
    """Collects events on top of a world without changing it; `finish` makes the decision."""

    def __init__(self, world: World, command: Command, now: datetime) -> None:
        self.now = now
        self.policy = world.policy
        self._command = command
        self._world = world
        self._events: list[NewEvent] = []
        self._accounts: dict[str, AccountState | None] = {}
        self._generations: dict[str, GenerationState | None] = {}
        self._jobs: dict[str, Job] = {}
        self._debits: dict[str, DebitState | None] = {}
        self._balances: dict[str, tuple[int, int]] = {}  # posted and held, after the last event
        self._answering: int | None = None

    def account(self, owner: str) -> AccountState | None:
        """The account as it stands within this draft."""
        if owner in self._accounts:
            return self._accounts[owner]
        return self._world.accounts[owner]

    def next_version(self, owner: str) -> int:
        """The version that the account's next event will have."""
        state = self.account(owner)
        return state.version + 1 if state else 1

    def next_id(self, prefix: str, owner: str) -> str:
        """The id of what the account's next event brings about."""
        return make_id(prefix, self.now, owner, self.next_version(owner))

    def record(self, owner: str, event: AccountEvent, key: Key | None = None) -> AccountState:
        """Append an account event, stamped with the balances after it."""
        version = self.next_version(owner)
        state = evolve(self.account(owner), event, version, self.now)
        posted, held = self._balances[owner] = state.posted, state.held
        stamped = replace(event, posted=posted, held=held)
        self._events.append(NewEvent(owner, owner, version, stamped, key))
        self._accounts[owner] = state
        return state

    def record_generation(self, stream: str, owner: str, event: GenerationEvent) -> GenerationState:
        """Append a generation event."""
        before = self.generation(stream)
        version = before.version + 1 if before else 1
        state = evolve_generation(before, event, version, self.now, owner=owner)
        self._events.append(NewEvent(owner, stream, version, event, None))
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

    def keep_debit(self, debit: DebitState) -> None:
        """Set what has been refunded of a debit."""
        self._debits[debit.debit_id] = debit

    def finish(self, *, http_status: int = 200, result: Any = None) -> Decision:
        """The decision. The event marked by `answer_here`, or else the last one, bears the answer
        to a keyed command."""
        answer_at = None
        if self._command.key is not None:
            answer_at = self._answer(http_status)
        return Decision(
            events=tuple(self._events),
            accounts=self._accounts,
            generations=self._generations,
            jobs=self._jobs,
            debits=self._debits,
            answer_at=answer_at,
            result=result,
        )

    def last_refund(self) -> DebitRefunded | None:
        """The refund that this draft records, if any."""
        refunds = [new.event for new in self._events if isinstance(new.event, DebitRefunded)]
        return refunds[-1] if refunds else None

    def answer_here(self) -> None:
        """The event recorded last is the one that bears the command's answer."""
        self._answering = len(self._events) - 1

    def _answer(self, http_status: int) -> int:
        key, owner = self._command.key, self._command.owner
        state = self.account(owner)
        assert key is not None
        assert state is not None
        at = len(self._events) - 1 if self._answering is None else self._answering
        bearer = self._events[at]
        assert isinstance(bearer.event, AccountEvent)
        assert bearer.stream == owner
        posted, held = self._balances[owner]
        answer = Answer(
            key=key.text,
            http_status=http_status,
            reply=REPLY_VERSION,
            version=state.version,
            posted=posted,
            held=held,
            available=posted - held - blocked(state, self.now) + state.credit_limit,
            debt=state.debt,
            credit_limit=state.credit_limit,
            pending_expiry=unbooked(state, self.now),
            status=state.status,
            unit=state.unit,
            opened_at=state.opened_at,
            trailing=len(self._events) - 1 - at,
        )
        self._events[at] = replace(bearer, event=replace(bearer.event, command=answer), key=key)
        return at
