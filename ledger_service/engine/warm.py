"""A warm batch: commands decided on remembered heads, without locks, written in one round trip.

What was relied on (versions of heads and policies, unused keys, the clock) is verified by the
append itself. If any of it was not so, nothing is written.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from ledger_service.domain import commands
from ledger_service.domain.decide import decide
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.world import Decision, Need, Refusal
from ledger_service.engine.changes import Changes
from ledger_service.engine.loading import AHEAD_MAX
from ledger_service.engine.memory import Memory
from ledger_service.engine.outcomes import (
    Accepted,
    Pending,
    Repeat,
    rejection,
    results_of,
)
from ledger_service.engine.tickets import KeyId, Results, Stage, Ticket
from ledger_service.store.columns import KeyColumns, Reliance, SeenColumns, Writes

COMMANDS: Final = frozenset(
    (
        commands.OpenAccount,
        commands.ChangeCreditLimit,
        commands.GrantCredits,
        commands.DebitCredits,
        commands.PlaceHold,
        commands.ChangeStanding,
        commands.BookExpiry,
    )
)
"""What can mostly be decided by an account's head alone."""


class WarmBatch:
    """Tickets that are decided as they are added. The memory's world has the states after them,
    whether or not the batch will be written: whoever goes on from there must wait for it.

    `behind` are tickets with keys of this batch's: they wait for what becomes of it. `landed` is
    set when the database has answered, whatever it said.
    """

    def __init__(self, memory: Memory, number: int, after: int | None) -> None:
        self.number = number
        self.behind: list[Ticket] = []
        self.landed = asyncio.Event()
        self._after = after
        self._memory = memory
        self._now = memory.clock.now()
        self._before: dict[str, int] = {}
        self._tenants: set[str] = set()
        self._keys: dict[KeyId, Accepted | None] = {}
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

    def add(self, ticket: Ticket) -> bool:
        """Decide one ticket whose account is in memory; false when that takes locks."""
        key_id = ticket.key_id
        if key_id is not None and (first := self._keys.get(key_id)):
            self._pending.append((ticket, Repeat(first)))
            return True
        world, command = self._memory.world, ticket.submission.command
        owner = command.owner
        state = world.accounts[owner]
        now = self._now
        if state is not None and state.recorded_at > now:
            now = state.recorded_at
            if now - self._now > AHEAD_MAX:
                return False  # a clock was set back: under locks that is told
        outcome = decide(world, command, now)
        if isinstance(outcome, Need) or not _is_plain(outcome, owner):
            return False
        self._before.setdefault(owner, state.version if state else 0)
        self._tenants.add(owner.partition("/")[0])
        ticket.stage = Stage.TAKEN
        if isinstance(outcome, Refusal):
            self._pending.append((ticket, rejection(outcome)))
            accepted = None
        else:
            accepted = self._accept(ticket, outcome, now)
        if key_id is not None:
            self._keys[key_id] = accepted
        return True

    def _accept(self, ticket: Ticket, decision: Decision, now: datetime) -> Accepted:
        self._memory.world.accounts.update(decision.accounts)
        first = self._changes.add(ticket.submission, decision, now, None)
        accepted = Accepted(ticket.submission, decision, first, now)
        self._pending.append((ticket, accepted))
        return accepted

    def writes(self) -> Writes:
        """What it leaves in the database."""
        return self._changes.writes(self._memory.world, self._before, {})

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
        )

    def results(self, base: int) -> Results:
        """What to tell each caller, now that it is durable."""
        for key_id, accepted in self._keys.items():
            if accepted is not None:
                self._memory.keep_key(key_id[2])
        return results_of(self._pending, base)


def _is_plain(outcome: Decision | Refusal, owner: str) -> bool:
    """Whether nothing but this account and rows beside it changes."""
    if isinstance(outcome, Refusal):
        return True
    other = outcome.generations or outcome.jobs or outcome.policies or outcome.derived
    return not other and not outcome.accounts.keys() - {owner}
