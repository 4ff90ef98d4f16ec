"""What becomes of a ticket once its batch is durable."""

from __future__ import annotations

from datetime import datetime

from contracts.problems import FieldError, ProblemCode
from ledger_service.domain.commands import VoidCommand
from ledger_service.domain.events import decode, topic_of
from ledger_service.domain.world import Decision, Refusal
from ledger_service.engine.submission import Done, Recorded, Submission
from ledger_service.engine.tickets import Result, Results, Ticket
from ledger_service.errors import LedgerError, Rejected
from ledger_service.store.columns import LOG
from ledger_service.store.wanted import KeyRow

_VOIDED = "command_voided.v1"


class Accepted:
    """A decision of a batch; its events start at ordinal `first` (from 1)."""

    __slots__ = ("decision", "first", "now", "submission")

    def __init__(
        self, submission: Submission, decision: Decision, first: int, now: datetime
    ) -> None:
        self.submission = submission
        self.decision = decision
        self.first = first
        self.now = now

    def done(self, base: int) -> Done:
        """The outcome, once the commit has told the position before the batch."""
        decision, is_keyed = self.decision, self.submission.command.key is not None
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
                actor=self.submission.actor if is_keyed else None,
                fingerprint=self.submission.fingerprint if is_keyed else None,
            )
        last = base + self.first + len(decision.events) - 1 if decision.events else None
        return Done(answer=answer, position=last, recorded_at=self.now, result=decision.result)


class Repeat:
    """A ticket with a key that an earlier one of the same batch has used."""

    __slots__ = ("_first",)

    def __init__(self, first: Accepted) -> None:
        self._first = first

    def result(self, submission: Submission, base: int) -> Result:
        """The first one's answer, if it is the same request."""
        return replay(submission, self._first.done(base), self._first.submission.fingerprint)


Outcome = Result | Accepted | Repeat
Pending = list[tuple[Ticket, Outcome]]


def results_of(pending: Pending, base: int) -> Results:
    """What to tell each caller."""
    results: Results = []
    for ticket, outcome in pending:
        if isinstance(outcome, Accepted):
            results.append((ticket, outcome.done(base)))
        elif isinstance(outcome, Repeat):
            results.append((ticket, outcome.result(ticket.submission, base)))
        else:
            results.append((ticket, outcome))
    return results


def rejection(refusal: Refusal) -> Rejected:
    """A refusal as the caller gets it."""
    fields = dict(refusal.fields)
    errors = tuple(FieldError(**fault) for fault in fields.pop("errors", ()))
    return Rejected(refusal.code, errors=errors, **fields)


def replay(submission: Submission, first: Done, fingerprint: bytes | None) -> Result:
    """The first answer under a key again, if this is the request that it answered."""
    assert first.answer is not None
    refused = _mismatch(submission, fingerprint, topic_of(first.answer.event))
    if refused is not None:
        return refused
    return Done(
        answer=first.answer,
        is_replay=True,
        position=first.position,
        recorded_at=first.recorded_at,
        result=first.result,
    )


def stored_answer(ticket: Ticket, row: KeyRow) -> Done | LedgerError:
    """What the event that bears the ticket's key says."""
    submission = ticket.submission
    if refused := _mismatch(submission, row.fingerprint, row.topic):
        return refused
    # Our own commit whose answer got lost is a first answer, not a replay.
    is_own = ticket.may_be_committed and row.trace_id == submission.trace_id
    return Done(
        answer=recorded_from(row),
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
