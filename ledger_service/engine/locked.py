"""A batch under locks: lock and load, decide each command in order, append all of it at once.

It commits as a whole or leaves nothing behind; deciding it again is always safe, because keys
that were committed meanwhile are found and replayed. Whatever a warm batch cannot do is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import Command, GenerationCommand, streams
from ledger_service.domain.decide import decide
from ledger_service.domain.ids import owner_of_stream, policy_owner, split_owner
from ledger_service.domain.world import Decision, Need, Refusal, World
from ledger_service.domain.world import Outcome as Decided
from ledger_service.engine.changes import Changes
from ledger_service.engine.loading import Loader
from ledger_service.engine.outcomes import (
    Accepted,
    Outcome,
    Pending,
    Repeat,
    rejection,
    results_of,
    stored_answer,
)
from ledger_service.engine.tickets import KeyId, Result, Results, Ticket
from ledger_service.errors import CorruptHistory, OutcomeUnknown
from ledger_service.store.vault import Sealed, Vault
from ledger_service.store.wanted import Loaded, Wanted
from ledger_service.store.writing import WritingConnection

NEEDS_MAX: Final = 1_000
"""Rounds of loading that one command may ask for under the same locks: a clawback asks again for
each lot that it follows through transfers."""
NEEDS_IN_LOOP_MAX: Final = 8
"""A command that has asked more often than this takes long to decide: a thread does it, so that
the event loop stays with everybody else."""

_NOT_SEALED: Final = bytes(32).hex()
"""Stands for what a dry run does not put into the vault."""


class LockedBatch:
    """Tickets on their way to one commit. `said`: the database's clock when it began."""

    def __init__(self, tickets: list[Ticket], connection: WritingConnection, vault: Vault) -> None:
        self._tickets = tickets
        self._connection = connection
        self._vault = vault
        self._world = World()
        self._changes = Changes()
        self._pending: Pending = []
        self._fresh_keys: dict[KeyId, Accepted] = {}
        self.deferred: list[Ticket] = []

    async def run(self) -> Results:
        """Decide and commit. Raises what `WritingConnection` raises; nothing happened then."""
        loaded = await self._begin()
        self.said = loaded.now
        for ticket in self._tickets:
            outcome = await self._settle(ticket, loaded)
            if outcome is not None:
                self._pending.append((ticket, outcome))
        if self._changes.is_empty:
            await self._connection.end()
            return results_of(self._pending, 0)
        writes = self._changes.writes(self._world, self._loader.before, self._loader.rows_of_lots)
        return results_of(self._pending, await self._connection.commit(writes))

    @property
    def heads(self) -> dict[str, AccountState]:
        """After the commit: the accounts that it changed, as their heads are now."""
        accounts = self._world.accounts
        return {s: state for s in self._changes.streams if (state := accounts.get(s)) is not None}

    async def _begin(self) -> Loaded:
        wanted = wanted_by(self._tickets)
        loaded = await self._connection.begin(wanted)
        self._loader = Loader(self._connection, self._world, loaded)
        await self._loader.fill(wanted, loaded)
        self._keys = {(row.owner, row.key_space, row.key_digest): row for row in loaded.keys}
        self._subject_keys: dict[str, bytes] = {}
        self._keys_made: dict[str, bytes] = {}
        return loaded

    async def _settle(self, ticket: Ticket, loaded: Loaded) -> Outcome | None:
        """Decide one ticket; None when it must go into another batch."""
        if ticket.key_id is not None:
            if row := self._keys.get(ticket.key_id):
                return stored_answer(ticket, row)
            if first := self._fresh_keys.get(ticket.key_id):
                return Repeat(first)
        try:
            return await self._decide(ticket, loaded)
        except CorruptHistory as error:
            return error  # this account or generation cannot be served; its neighbours can

    async def _decide(self, ticket: Ticket, loaded: Loaded) -> Result | Accepted | None:
        command, sealed = self._sealed(ticket, loaded)
        for needs in range(NEEDS_MAX):
            outcome = await self._outcome(command, ticket, needs)
            if isinstance(outcome, Refusal):
                if ticket.may_be_committed and command.key is None:
                    return OutcomeUnknown()  # what refuses it now may be its own first try
                return rejection(outcome)
            if isinstance(outcome, Decision):
                unnamed = outcome.accounts.keys() - streams(command) - ticket.extra_streams
                if not unnamed:
                    return self._accept(ticket, outcome, sealed)
                ticket.extra_streams |= unnamed  # a neighbour had loaded them: their time counts
                continue
            if not self._loader.holds(outcome.streams):
                ticket.extra_streams |= outcome.streams
                self.deferred.append(ticket)
                return None
            await self._loader.load(outcome)
        raise AssertionError(f"{type(command).__name__} never has enough")

    async def _outcome(self, command: Command, ticket: Ticket, needs: int) -> Decided | Need:
        self._now = self._loader.time_for(command, ticket.extra_streams)
        if needs <= NEEDS_IN_LOOP_MAX:
            return decide(self._world, command, self._now)
        return await asyncio.to_thread(decide, self._world, command, self._now)

    def _sealed(self, ticket: Ticket, loaded: Loaded) -> tuple[Command, Sealed | None]:
        command, private = ticket.submission.command, ticket.submission.private
        if not private:
            return command, None
        if ticket.submission.is_dry_run:
            return replace(command, private=_NOT_SEALED), None
        owner = command.owner
        key = self._subject_keys.get(owner)
        if key is None:
            key = self._subject_key(owner, loaded)
        sealed = self._vault.seal(owner, key, private)
        return replace(command, private=sealed.digest.hex()), sealed

    def _subject_key(self, owner: str, loaded: Loaded) -> bytes:
        wrapped = loaded.subject_keys.get(owner)
        if wrapped is not None:
            key = self._vault.unwrap(owner, wrapped)
        else:
            key, wrapped = self._vault.new_key(owner)
            self._keys_made[owner] = wrapped
        self._subject_keys[owner] = key
        return key

    def _accept(
        self, ticket: Ticket, decision: Decision, sealed: Sealed | None
    ) -> Result | Accepted:
        submission = ticket.submission
        if submission.is_dry_run:
            planned = tuple((new.stream, new.version) for new in decision.events)
            return replace(Accepted(submission, decision, 0, self._now).done(0), planned=planned)
        self._world.apply(decision)
        first = self._changes.add(submission, decision, self._now, sealed)
        owner = submission.command.owner
        if sealed is not None and owner in self._keys_made:  # a refusal leaves no key behind
            self._changes.new_subject_keys[owner] = self._keys_made[owner]
        accepted = Accepted(submission, decision, first, self._now)
        if ticket.key_id is not None:
            self._fresh_keys[ticket.key_id] = accepted
        return accepted


def wanted_by(tickets: Iterable[Ticket]) -> Wanted:
    """What these tickets need to be decided."""
    owners: dict[str, str] = {}
    keys: dict[KeyId, None] = {}
    jobs: dict[tuple[str, str], None] = {}
    subjects: dict[str, None] = {}
    for ticket in tickets:
        command = ticket.submission.command
        for stream in streams(command) | ticket.extra_streams:
            owners[stream] = owner_of_stream(stream)  # a transfer names two accounts
        if ticket.key_id is not None:
            keys[ticket.key_id] = None
        if isinstance(command, GenerationCommand):
            jobs[command.owner, command.generation_id] = None
        if ticket.submission.private and not ticket.submission.is_dry_run:
            subjects[command.owner] = None
    ordered = sorted(owners)
    return Wanted(
        streams=[(owners[stream], stream) for stream in ordered],
        keys=list(keys),
        jobs=list(jobs),
        subjects=list(subjects),
        policies=sorted({policy_owner(split_owner(owner)[0]) for owner in owners.values()}),
    )
