"""A warm batch: commands decided on remembered heads, without locks, written in one round trip.

What was relied on (versions of heads and policies, unused keys, the clock) is verified by the
append itself. If any of it was not so, nothing is written.
"""

from __future__ import annotations

import asyncio
import enum
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from ledger_service.domain import commands
from ledger_service.domain.decide import decide
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.world import Decision, Need, Refusal
from ledger_service.engine.changes import Changes
from ledger_service.engine.loading import AHEAD_MAX
from ledger_service.engine.memory import Memory, Subject
from ledger_service.engine.outcomes import (
    Accepted,
    Pending,
    Repeat,
    rejection,
    results_of,
)
from ledger_service.engine.tickets import KeyId, Results, Stage, Ticket
from ledger_service.store.columns import (
    KeyColumns,
    Reliance,
    SeenColumns,
    SubjectColumns,
    Writes,
)
from ledger_service.store.vault import Sealed, Vault

COMMANDS: Final = frozenset(
    (
        commands.OpenAccount,
        commands.ChangeCreditLimit,
        commands.ChangeStanding,
        commands.GrantCredits,
        commands.DebitCredits,
        commands.RefundDebit,
        commands.PlaceHold,
        commands.CaptureHold,
        commands.ReleaseHold,
        commands.ExtendHold,
        commands.ExpireHold,
        commands.BookExpiry,
        commands.Decline,
        commands.RequestGeneration,
    )
)
"""What can mostly be decided by one account and what belongs to it."""


class Passed(enum.Enum):
    """It was not taken: it needs locks."""

    ON = enum.auto()


class WarmBatch:
    """Tickets that are decided as they are added. The memory's world has the states after them,
    whether or not the batch will be written: whoever goes on from there must wait for it.

    `behind` are tickets with keys of this batch's: they wait for what becomes of it. `landed` is
    set when the database has answered, whatever it said; `sent_at` is by the loop's clock.
    """

    def __init__(self, memory: Memory, vault: Vault, number: int, after: int | None) -> None:
        self.number = number
        self.behind: list[Ticket] = []
        self.landed = asyncio.Event()
        self.sent_at = 0.0
        self._after = after
        self._memory = memory
        self._vault = vault
        self._now = memory.clock.now()
        self._before: dict[str, int] = {}
        self._tenants: set[str] = set()
        self._keys: dict[KeyId, Accepted | None] = {}
        self._subjects: dict[str, Subject] = {}
        self._changes = Changes()
        self._pending: Pending = []

    @property
    def is_empty(self) -> bool:
        """Nothing was decided here."""
        return not self._pending

    @property
    def owners(self) -> list[str]:
        """The accounts that were looked at."""
        return list(self._before)

    @property
    def tickets(self) -> list[Ticket]:
        """Everybody who waits for this batch alone."""
        return [ticket for ticket, _ in self._pending]

    def holds_key(self, key_id: KeyId | None) -> bool:
        """Whether a command with this key is in it."""
        return key_id in self._keys

    def add(self, ticket: Ticket) -> Passed | Need | None:
        """Decide one ticket whose account is in memory. None: it was taken; else it needs locks, or
        further things of its account first."""
        key_id = ticket.key_id
        if key_id is not None and (first := self._keys.get(key_id)):
            self._pending.append((ticket, Repeat(first)))
            return None
        command, sealed = self._sealed(ticket)
        owner = command.owner
        state = self._memory.world.accounts[owner]
        now = self._now
        if state is not None and state.recorded_at > now:
            now = state.recorded_at
            if now - self._now > AHEAD_MAX:
                return Passed.ON  # a clock was set back: under locks that is told
        outcome = decide(self._memory.world, command, now)
        if isinstance(outcome, Need):
            return outcome if _is_of_account(outcome) else Passed.ON
        if not _is_plain(outcome, owner):
            return Passed.ON
        self._before.setdefault(owner, state.version if state else 0)
        self._tenants.add(owner.partition("/")[0])
        ticket.stage = Stage.TAKEN
        if isinstance(outcome, Refusal):
            self._pending.append((ticket, rejection(outcome)))
            accepted = None
        else:
            accepted = self._accept(ticket, outcome, now, sealed)
        if key_id is not None:
            self._keys[key_id] = accepted
        return None

    def _sealed(self, ticket: Ticket) -> tuple[commands.Command, Sealed | None]:
        command, private = ticket.submission.command, ticket.submission.private
        if not private:
            return command, None
        sealed = self._vault.seal(command.owner, self._memory.subject(command.owner).key, private)
        return replace(command, private=sealed.digest.hex()), sealed

    def _accept(
        self, ticket: Ticket, decision: Decision, now: datetime, sealed: Sealed | None
    ) -> Accepted:
        owner = ticket.submission.command.owner
        first = self._changes.add(ticket.submission, decision, now, sealed)
        self._memory.apply(owner, decision)
        if decision.generations:
            self._memory.world.generations.update(decision.generations)
        if sealed is not None:
            self._use_subject(owner)
        accepted = Accepted(ticket.submission, decision, first, now)
        self._pending.append((ticket, accepted))
        return accepted

    def _use_subject(self, owner: str) -> None:
        """The key that it was sealed under must be the owner's then as well, or becomes it."""
        subject = self._memory.subject(owner)
        if subject.is_stored:
            if owner not in self._changes.new_subject_keys:
                self._subjects[owner] = subject
        else:
            self._changes.new_subject_keys[owner] = subject.wrapped
            subject.is_stored = True

    def writes(self) -> Writes:
        """What it leaves in the database."""
        world = self._memory.world
        try:
            return self._changes.writes(world, self._before, {})
        finally:
            world.generations.clear()  # nobody asks for them again without locks

    def relies_on(self) -> Reliance:
        """What must be so for the batch to be written."""
        changed = set(self._changes.streams)
        seen = {owner: at for owner, at in self._before.items() if owner not in changed}
        policies = {policy_owner(t): self._memory.policy_version(t) for t in self._tenants}
        owners = [*seen, *policies]
        keys = KeyColumns()
        for owner, space, digest in self._keys:
            keys.owner.append(owner)
            keys.key_space.append(space)
            keys.key_digest.append(digest)
        return Reliance(
            number=self.number,
            after=self._after,
            now=self._now,
            seen=SeenColumns(
                owner=owners, stream=owners, version=[*seen.values(), *policies.values()]
            ),
            keys=keys,
            subjects=SubjectColumns(
                owner=list(self._subjects),
                wrapped_key=[subject.wrapped for subject in self._subjects.values()],
            ),
        )

    def results(self, base: int) -> Results:
        """What to tell each caller, now that it is durable."""
        for key_id, accepted in self._keys.items():
            if accepted is not None:
                self._memory.keep_key(key_id[2])
        return results_of(self._pending, base)


def _is_of_account(need: Need) -> bool:
    """Whether all that is missing are holds and debits of the account itself."""
    return not (
        need.streams
        or need.lots
        or need.all_lots
        or need.open_holds
        or need.in_flight
        or need.crowds
        or need.begun
        or need.grants
        or need.derived
    )


def _is_plain(outcome: Decision | Refusal, owner: str) -> bool:
    """Whether nothing but this account changes, what belongs to it, and new generations."""
    if isinstance(outcome, Refusal):
        return True
    other = outcome.policies or outcome.derived
    return not other and not outcome.accounts.keys() - {owner}
