"""One batch: lock and load, decide each command in order, append all of it at once.

A batch either commits as a whole or leaves nothing behind; deciding it again is always safe,
because keys that were committed meanwhile are found and replayed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from contracts.problems import FieldError, ProblemCode
from ledger_service.domain.commands import Command, GenerationCommand, VoidCommand, streams
from ledger_service.domain.decide import decide
from ledger_service.domain.events import decode, topic_of
from ledger_service.domain.ids import owner_of_stream, policy_owner, split_owner
from ledger_service.domain.world import Decision, Refusal, World
from ledger_service.engine.changes import Changes
from ledger_service.engine.loading import Loader
from ledger_service.engine.submission import Done, Recorded, Submission
from ledger_service.engine.tickets import Result, Results, Ticket
from ledger_service.errors import CorruptHistory, LedgerError, OutcomeUnknown, Rejected
from ledger_service.store.vault import Sealed, Vault
from ledger_service.store.writing import LOG, KeyRow, Loaded, Wanted, WritingConnection

NEEDS_MAX: Final = 1_000
"""Rounds of loading that one command may ask for under the same locks: a clawback asks again for
each lot that it follows through transfers."""

_VOIDED: Final = "command_voided.v1"
_NOT_SEALED: Final = bytes(32).hex()
"""Stands for what a dry run does not put into the vault."""

KeyId = tuple[str, str, bytes]


class Batch:
    """Tickets on their way to one commit."""

    def __init__(self, tickets: list[Ticket], connection: WritingConnection, vault: Vault) -> None:
        self._tickets = tickets
        self._connection = connection
        self._vault = vault
        self._world = World()
        self._changes = Changes()
        self._pending: list[tuple[Ticket, Result | _Accepted | _Repeat]] = []
        self._fresh_keys: dict[KeyId, _Accepted] = {}
        self.deferred: list[Ticket] = []

    def run(self) -> Results:
        """Decide and commit. Raises what `WritingConnection` raises; nothing happened then."""
        loaded = self._begin()
        for ticket in self._tickets:
            outcome = self._settle(ticket, loaded)
            if outcome is not None:
                self._pending.append((ticket, outcome))
        if self._changes.is_empty:
            self._connection.end()
            return self._results(0)
        values = self._changes.columns(self._world, self._loader)
        return self._results(self._connection.commit(*values))

    def _begin(self) -> Loaded:
        wanted = _wanted(self._tickets)
        loaded = self._connection.begin(wanted)
        self._loader = Loader(self._connection, self._world, wanted, loaded)
        self._keys = {(row.owner, row.key_space, row.key_digest): row for row in loaded.keys}
        self._subject_keys: dict[str, bytes] = {}
        self._keys_made: dict[str, bytes] = {}
        return loaded

    def _settle(self, ticket: Ticket, loaded: Loaded) -> Result | _Accepted | _Repeat | None:
        """Decide one ticket; None when it must go into another batch."""
        command = ticket.submission.command
        if command.key is not None and not ticket.submission.is_dry_run:
            key_id = (command.owner, command.key.space, command.key.digest)
            if row := self._keys.get(key_id):
                return _replayed(ticket, row)
            if first := self._fresh_keys.get(key_id):
                return _Repeat(first)
        try:
            return self._decide(ticket, loaded)
        except CorruptHistory as error:
            return error  # this account or generation cannot be served; its neighbours can

    def _decide(self, ticket: Ticket, loaded: Loaded) -> Result | _Accepted | None:
        command, sealed = self._sealed(ticket, loaded)
        for _ in range(NEEDS_MAX):
            now = self._loader.time_for(command, ticket.extra_streams)
            outcome = decide(self._world, command, now)
            if isinstance(outcome, Refusal):
                if ticket.may_be_committed and command.key is None:
                    return OutcomeUnknown()  # what refuses it now may be its own first try
                return rejection(outcome)
            if isinstance(outcome, Decision):
                unnamed = outcome.accounts.keys() - streams(command) - ticket.extra_streams
                if not unnamed:
                    return self._accept(ticket, outcome, now, sealed)
                ticket.extra_streams |= unnamed  # a neighbour had loaded them: their time counts
                continue
            if not self._loader.holds(outcome.streams):
                ticket.extra_streams |= outcome.streams
                self.deferred.append(ticket)
                return None
            self._loader.load(outcome)
        raise AssertionError(f"{type(command).__name__} never has enough")

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
        self, ticket: Ticket, decision: Decision, now: datetime, sealed: Sealed | None
    ) -> Result | _Accepted:
        if ticket.submission.is_dry_run:
            planned = tuple((new.stream, new.version) for new in decision.events)
            return replace(_Accepted(decision, 0, now).done(0), planned=planned)
        self._world.apply(decision)
        first = self._changes.add(ticket.submission, decision, now, sealed)
        owner = ticket.submission.command.owner
        if sealed is not None and owner in self._keys_made:  # a refusal leaves no key behind
            self._changes.new_subject_keys[owner] = self._keys_made[owner]
        accepted = _Accepted(decision, first, now)
        key = ticket.submission.command.key
        if key is not None:
            self._fresh_keys[owner, key.space, key.digest] = accepted
            accepted.fingerprint = ticket.submission.fingerprint
            accepted.actor = ticket.submission.actor
        return accepted

    def _results(self, base: int) -> Results:
        results: Results = []
        for ticket, outcome in self._pending:
            if isinstance(outcome, _Accepted):
                results.append((ticket, outcome.done(base)))
            elif isinstance(outcome, _Repeat):
                results.append((ticket, outcome.result(ticket, base)))
            else:
                results.append((ticket, outcome))
        return results


class _Accepted:
    """A decision of this batch; its events start at ordinal `first` (from 1)."""

    def __init__(self, decision: Decision, first: int, now: datetime) -> None:
        self.decision = decision
        self.first = first
        self.now = now
        self.fingerprint: bytes | None = None
        self.actor: str | None = None

    def done(self, base: int) -> Done:
        """The outcome, once the commit has told the position before the batch."""
        decision = self.decision
        answer = None
        if decision.answer_at is not None:
            new = decision.events[decision.answer_at]
            answer = Recorded(
                log=LOG,
                position=base + self.first + decision.answer_at,
                owner=new.owner,
                stream=new.stream,
                version=new.version,
                event=new.event,
                recorded_at=self.now,
                actor=self.actor,
                fingerprint=self.fingerprint,
            )
        last = base + self.first + len(decision.events) - 1 if decision.events else None
        return Done(answer=answer, position=last, recorded_at=self.now, result=decision.result)


class _Repeat:
    """A key that an earlier ticket of the same batch has used."""

    def __init__(self, first: _Accepted) -> None:
        self._first = first

    def result(self, ticket: Ticket, base: int) -> Result:
        """The first one's answer, if it is the same request."""
        first = self._first.done(base)
        assert first.answer is not None
        topic = topic_of(first.answer.event)
        if refused := _mismatch(ticket.submission, self._first.fingerprint, topic):
            return refused
        return replace(first, is_replay=True)


def rejection(refusal: Refusal) -> Rejected:
    """A refusal as the caller gets it."""
    fields = dict(refusal.fields)
    errors = tuple(FieldError(**fault) for fault in fields.pop("errors", ()))
    return Rejected(refusal.code, errors=errors, **fields)


def _replayed(ticket: Ticket, row: KeyRow) -> Done | LedgerError:
    submission = ticket.submission
    if refused := _mismatch(submission, row.fingerprint, row.topic):
        return refused
    recorded = recorded_from(row)
    # Our own commit whose answer got lost is a first answer, not a replay.
    is_own = ticket.may_be_committed and row.trace_id == submission.trace_id
    return Done(
        answer=recorded,
        is_replay=not is_own,
        position=row.position,
        recorded_at=row.recorded_at,
    )


def _mismatch(submission: Submission, fingerprint: bytes | None, topic: str) -> Rejected | None:
    """Why the event that bears a key does not answer this submission; null: it does."""
    if isinstance(submission.command, VoidCommand) or fingerprint == submission.fingerprint:
        return None  # voiding a key takes whatever was done under it for an answer
    if topic == _VOIDED:
        return Rejected(ProblemCode.COMMAND_VOIDED)
    return Rejected(ProblemCode.IDEMPOTENCY_KEY_REUSED)


def recorded_from(row: KeyRow) -> Recorded:
    """A stored event that bears a key."""
    return Recorded(
        log=row.log,
        position=row.position,
        owner=row.owner,
        stream=row.stream,
        version=row.version,
        event=decode(row.topic, row.state),
        recorded_at=row.recorded_at,
        actor=row.actor,
        fingerprint=row.fingerprint,
        trace_id=row.trace_id,
    )


def _wanted(tickets: list[Ticket]) -> Wanted:
    owners: dict[str, str] = {}
    keys: dict[KeyId, None] = {}
    jobs: dict[tuple[str, str], None] = {}
    subjects: dict[str, None] = {}
    for ticket in tickets:
        command = ticket.submission.command
        for stream in streams(command) | ticket.extra_streams:
            owners[stream] = owner_of_stream(stream)  # a transfer names two accounts
        if command.key is not None and not ticket.submission.is_dry_run:
            keys[command.owner, command.key.space, command.key.digest] = None
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
