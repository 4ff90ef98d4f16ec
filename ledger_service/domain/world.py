"""What decisions are made from, and what they are.

A `World` holds the loaded states. Deciding a command yields a `Decision` (new events and the
states after them), a `Refusal` (nothing changes) or a `Need` (load this, then ask again).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.problems import ProblemCode
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import Key
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import CreditsDebited, Slice
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.policy import Policy


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

    @property
    def left(self) -> int:
        """Credits that can still be refunded."""
        return self.amount - self.refunded


def debit_state(event: CreditsDebited, given_back: Sequence[int] | None) -> DebitState:
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
        generation_id=event.generation_id,
    )


class World:
    """Loaded states by stream or id; a stream that is known not to exist maps to None."""

    __slots__ = ("accounts", "debits", "generations", "jobs", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.accounts: dict[str, AccountState | None] = {}
        self.generations: dict[str, GenerationState | None] = {}
        self.jobs: dict[str, Job] = {}
        self.debits: dict[str, DebitState | None] = {}

    def apply(self, decision: Decision) -> None:
        """Take over the states after an accepted command."""
        self.accounts.update(decision.accounts)
        self.generations.update(decision.generations)
        self.jobs.update(decision.jobs)
        self.debits.update(decision.debits)


class NewEvent(msgspec.Struct, frozen=True):
    """An event to append, with the place it takes in its stream."""

    owner: str
    stream: str
    version: int
    event: Event
    key: Key | None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted command: its events in order, the states after it, and what to answer.

    `answer_at` is the index of the event that bears the command's answer, if it has a key;
    `result` is what an unkeyed command tells its caller.
    """

    events: tuple[NewEvent, ...] = ()
    accounts: dict[str, AccountState | None] = {}
    generations: dict[str, GenerationState | None] = {}
    jobs: dict[str, Job] = {}
    debits: dict[str, DebitState | None] = {}
    answer_at: int | None = None
    result: Any = None


class Refusal(msgspec.Struct, frozen=True):
    """A command that cannot be carried out, with the true numbers."""

    code: ProblemCode
    fields: dict[str, Any] = {}


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """Load these and decide again: further streams, debits (owner, id), lots (owner, id),
    and all live lots of an account (owner)."""

    streams: frozenset[str] = frozenset()
    debits: frozenset[tuple[str, str]] = frozenset()
    lots: frozenset[tuple[str, str]] = frozenset()
    all_lots: frozenset[str] = frozenset()


Outcome = Decision | Refusal | Need
