"""Judges: what must hold after every commit, at every answer and at the end.

They see rows and answers only. What they expect is folded from the events as stored, by the code
that replays them, and added up by hand beside it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from contracts.problems import ProblemCode
from ledger_service.audit.compare import differences, moved
from ledger_service.audit.fold import Fold
from ledger_service.domain.account.entries import movement_of
from ledger_service.domain.account.equations import check_equations
from ledger_service.domain.account.state import NO_OVERFLOW, AccountState, burn_key
from ledger_service.domain.commands import DebitCredits, PlaceHold, RequestGeneration, VoidCommand
from ledger_service.domain.events import decode, encode
from ledger_service.domain.events.account import (
    AccountEvent,
    CreditsDebited,
    DebitRefunded,
)
from ledger_service.domain.events.generation import GenerationSubmitted, SubmissionStarted
from ledger_service.domain.events.holds import HoldExpired, HoldPlaced
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.ids import is_policy
from ledger_service.engine.submission import Done, Submission
from ledger_service.errors import CorruptHistory, LedgerError, OutcomeUnknown, Rejected, Unavailable
from ledger_service.store.heads import decode_account, decode_generation, decode_lot
from tests.simulation.connection import CLOCK_SET_BACK
from tests.simulation.ledger import BugCatcher
from tests.simulation.tables import EventRow, Tables
from tests.simulation.trace import Trace, Violation

_OF_KEYS = (ProblemCode.IDEMPOTENCY_KEY_REUSED, ProblemCode.COMMAND_VOIDED)
Answer = tuple[str, int, int, bytes]
"""Stream, version, position and the event's bytes: replies are rendered from these."""


class Judges:
    """Follows one history."""

    def __init__(self, tables: Tables, trace: Trace, bugs: BugCatcher) -> None:
        self._tables = tables
        self._trace = trace
        self._bugs = bugs
        self._seen = 0
        self._fold = Fold()
        self._posted: dict[str, int] = {}
        self._keys: set[tuple[str, str, bytes]] = set()
        self._traces: set[str] = set()
        self._denied: set[str] = set()
        self._answers: dict[tuple[str, str, str], Answer] = {}
        self._used_at: dict[tuple[str, str, bytes], datetime] = {}
        self._states: dict[str, list[tuple[datetime, AccountState]]] = {}

    # After every commit.

    def after_commit(self) -> None:
        """All that the new rows say."""
        rows = self._tables.events
        touched: dict[str, str] = {}
        while self._seen < len(rows):
            row = rows[self._seen]
            self._judge_order(row)
            self._follow(row)
            touched[row.stream] = row.owner
        if touched and not rows[-1].last:
            raise Violation("order", "a command's last event is not marked")
        for stream, owner in touched.items():
            self._judge_stream(owner, stream)
        self._judge_transfers()

    def _judge_order(self, row: EventRow) -> None:
        self._seen += 1
        if row.position != self._seen:
            raise Violation("positions", f"{row.position} follows {self._seen - 1}")
        before = self._tables.by_place.get((row.owner, row.stream, row.version - 1))
        if before is not None and before.recorded_at > row.recorded_at:
            raise Violation("order", f"time goes back on {row.stream} at {row.version}")
        if row.key_space is not None and row.key_digest is not None:
            key = (row.owner, row.key_space, row.key_digest)
            if key in self._keys:
                raise Violation("keys", f"a key of {row.owner} was used twice")
            self._keys.add(key)
            self._used_at[key] = self._tables.now()
        if row.trace_id in self._denied:
            raise Violation("answers", f"{row.topic} of a command that certainly failed")
        self._traces.add(row.trace_id or "")

    def _follow(self, row: EventRow) -> None:
        event = decode(row.topic, row.state)
        self._trace.add(
            "event", row.position, row.stream, row.version, row.topic,
            row.recorded_at, row.state.decode(),
        )  # fmt: skip
        try:
            self._fold.add(row.owner, row.stream, row.version, event, row.recorded_at)
        except (CorruptHistory, AssertionError) as error:
            raise Violation("fold", f"{row.topic} {row.stream} {row.version}: {error}") from None
        if isinstance(event, AccountEvent):
            posted = self._posted.get(row.stream, 0) + movement_of(event).signed
            self._posted[row.stream] = posted
            if posted != event.posted:
                raise Violation("sums", f"{row.stream} {row.version}: {posted} != {event.posted}")
            self._judge_instant(row, event)
            is_spend = isinstance(event, CreditsDebited | HoldPlaced)
            if is_spend and event.command is not None and event.command.available < 0:
                raise Violation("overspent", f"{row.stream} {row.version}")

    def _judge_instant(self, row: EventRow, event: AccountEvent) -> None:
        if isinstance(event, HoldExpired) and event.hold.expires_at > row.recorded_at:
            raise Violation("timetable", f"{event.hold.hold_id} ended before its time")

    def _judge_stream(self, owner: str, stream: str) -> None:
        row = self._tables.heads.get((owner, stream))
        if row is None:
            raise Violation("heads", f"{stream} has none")
        if is_policy(stream):
            return
        if stream != owner:
            head = row.head
            known = decode_generation(head.snapshot, head.snapshot_version)
            if known != self._fold.generations[stream]:
                raise Violation("heads", f"{stream} is not what its events say")
            return
        self._judge_account(owner, self._whole(owner))

    def _judge_account(self, owner: str, state: AccountState) -> None:
        self._states.setdefault(owner, []).append((self._tables.now(), state))
        if state != self._fold.accounts[owner]:
            raise Violation("heads", f"{owner} is not what its events say")
        if state.merged_into and (state.debt or any(lot.free for lot in state.lots)):
            raise Violation("transfers", f"{owner} was merged, and keeps something")
        left = self._fold.shelves.get(owner, {}).values()
        try:
            check_equations(replace(state, lots=(*state.lots, *left)))
        except CorruptHistory as error:
            raise Violation("equations", str(error)) from None
        held = sum(
            hold.hold.amount
            for (home, _), hold in self._fold.holds.items()
            if home == owner and hold.is_open
        )
        if held != state.held:
            raise Violation("equations", f"A1 {owner}: held {state.held}, open holds {held}")

    def _whole(self, owner: str) -> AccountState:
        tables = self._tables
        head = tables.heads[owner, owner].head
        state = decode_account(head.snapshot, head.snapshot_version)
        beyond = [
            decode_lot(row["state"].encode())
            for place, row in tables.lots.items()
            if place[0] == owner and row["place"] == "o"
        ]
        known = state.overflow
        said = (known.count, known.remaining, known.held, known.owed)
        found = [(lot.remaining, lot.held, lot.owed) for lot in beyond]
        if said != (len(beyond), *(sum(part[n] for part in found) for n in range(3))):
            raise Violation("heads", f"{owner}: what lies beyond the head is not what it says")
        lots = tuple(sorted([*state.lots, *beyond], key=burn_key))
        return replace(state, lots=lots, overflow=NO_OVERFLOW)

    def _judge_transfers(self) -> None:
        totals = [state.totals for state in self._fold.accounts.values()]
        came = sum(total.transferred_in for total in totals)
        went = sum(total.transferred_out for total in totals)
        if came != went:
            raise Violation("transfers", f"{went} credits left, {came} arrived")

    # At every answer.

    def at_result(self, submission: Submission, result: Done | LedgerError) -> None:
        """An answer is durable, a refusal is final, and a repeat is the first answer."""
        if self._bugs.caught:
            raise Violation("bugs", repr(self._bugs.caught[0])) from self._bugs.caught[0]
        self.after_commit()
        self._trace.add(submission.actor, _asked(submission), "->", _told(result))
        if submission.is_dry_run:
            self._denied.add(submission.trace_id)
            return None
        if isinstance(result, Done):
            return self._judge_answer(submission, result)
        if isinstance(result, Unavailable) and "contention" in str(result):
            raise Violation("liveness", f"{_asked(submission)} was never decided")
        if isinstance(result, Rejected):
            self._judge_refusal(submission, result)
        if isinstance(result, Unavailable | Rejected):
            if submission.trace_id in self._traces:
                raise Violation("answers", f"{result!r} to a command that was applied")
            self._denied.add(submission.trace_id)
        elif not isinstance(result, OutcomeUnknown):
            raise Violation("bugs", repr(result))
        return None

    def _judge_refusal(self, submission: Submission, refused: Rejected) -> None:
        """Refused is only what has not been done, and cannot be."""
        command = submission.command
        if command.key is not None and refused.code not in _OF_KEYS:
            key = (command.owner, command.key.space, command.key.digest)
            if key in self._used_at and self._used_at[key] < submission.occurred_at:
                raise Violation("replays", f"{_asked(submission)}: refused, and had been done")
        is_spend = isinstance(command, DebitCredits | PlaceHold | RequestGeneration)
        if is_spend and refused.code is ProblemCode.INSUFFICIENT_CREDITS:
            asked_at, required = submission.occurred_at, refused.fields["required"]
            states = self._states.get(command.owner, [])
            before = [state for at, state in states if at <= asked_at][-1:]
            since = [state for at, state in states if at > asked_at]
            certain = [_certain(state, asked_at, self._tables.now()) for state in before + since]
            if before and min(certain) >= required:
                raise Violation("refusals", f"{_asked(submission)}: there was enough all the time")

    def _judge_answer(self, submission: Submission, done: Done) -> None:
        if done.recorded_at is not None and done.recorded_at > self._tables.now():
            raise Violation("instants", f"{_asked(submission)}: recorded as of an instant to come")
        key, answer = submission.command.key, done.answer
        if key is None:
            return
        if answer is None:
            raise Violation("answers", f"none to {submission.command}")
        said = (answer.stream, answer.version, answer.position, encode(answer.event))
        first = self._answers.setdefault((submission.command.owner, key.space, key.text), said)
        if first != said:
            raise Violation("replays", f"{key.text}: {said} after {first}")
        row = self._tables.by_place.get((answer.owner, answer.stream, answer.version))
        if row is None or (row.position, row.state) != (answer.position, said[3]):
            raise Violation("answers", f"{key.text}: acknowledged, and not in the log")
        is_void = isinstance(submission.command, VoidCommand)
        if row.fingerprint != submission.fingerprint and not is_void:
            raise Violation("replays", f"{key.text}: the answer to another request")

    # At the end.

    def at_end(self, submits: dict[str, int], accepted: dict[str, int]) -> None:
        """After quiescence. `submits` counts POSTs by attempt, `accepted` jobs at the provider by
        generation."""
        self._judge_acknowledged()
        fold = self._folded_anew()
        for difference in differences(self._tables.stored, fold):
            raise Violation("replay", difference)
        came, went = moved(fold)
        if came != went:
            raise Violation("replay", f"{came} credits came from other accounts, {went} went")
        now = self._tables.now()
        for owner, state in fold.accounts.items():
            if any(lot.is_expired(now) and lot.free for lot in state.lots):
                raise Violation("timetable", f"{owner}: an expiry was never booked")
        for hold in fold.holds.values():
            if hold.is_open and hold.hold.expires_at <= now:
                raise Violation("timetable", f"{hold.hold.hold_id} was never ended")
        for stream, generation in fold.generations.items():
            self._judge_ending(fold, stream, generation)
        self._judge_submits(submits, accepted)

    def _judge_acknowledged(self) -> None:
        for stream, version, position, state in self._answers.values():
            rows = self._tables.events
            found = rows[position - 1] if position <= len(rows) else None
            if found is None or (found.stream, found.version, found.state) != (
                stream, version, state
            ):  # fmt: skip
                raise Violation("answers", f"{stream} {version}: acknowledged, and lost")

    def _folded_anew(self) -> Fold:
        fold, posted = Fold(), dict[str, int]()
        for row in self._tables.events:
            event = decode(row.topic, row.state)
            fold.add(row.owner, row.stream, row.version, event, row.recorded_at)
            if isinstance(event, AccountEvent):
                posted[row.stream] = posted.get(row.stream, 0) + movement_of(event).signed
        for owner, amount in posted.items():
            if self._tables.heads[owner, owner].posted != amount:
                raise Violation("sums", f"{owner}: {amount} in the events")
        return fold

    def _judge_ending(self, fold: Fold, stream: str, generation: GenerationState) -> None:
        if not generation.status.is_final:
            raise Violation("endings", f"{stream} is {generation.status} for ever")
        if generation.debit_id is None:
            return
        refunds = [
            (row, event)
            for row in self._tables.events
            if row.topic == "debit_refunded.v1"
            and isinstance(event := decode(row.topic, row.state), DebitRefunded)
            and event.debit_id == generation.debit_id
        ]
        ours = [event.amount for row, event in refunds if row.key_space == "s"]
        by_hand = sum(event.amount for row, event in refunds if row.key_space != "s")
        charged = generation.price - by_hand - sum(ours)
        if generation.status == "succeeded":
            if ours:
                raise Violation("refunds", f"{stream} succeeded and was refunded")
        elif charged != 0 or len(ours) != int(by_hand < generation.price):
            raise Violation("refunds", f"{stream} {generation.status}: {ours} and {by_hand} back")

    def _judge_submits(self, submits: dict[str, int], accepted: dict[str, int]) -> None:
        started: set[str] = set()
        for row in self._tables.events:
            event: Any = None
            if row.topic in ("submission_started.v1", "generation_submitted.v1"):
                event = decode(row.topic, row.state)
            if isinstance(event, SubmissionStarted):
                started.add(event.attempt_id)
            elif isinstance(event, GenerationSubmitted) and event.attempt_id not in started:
                raise Violation("submits", f"{event.attempt_id} before it was allowed")
        for attempt_id, times in submits.items():
            if attempt_id not in started or times > 1:
                raise Violation("submits", f"{attempt_id} was sent {times} times")
        for generation_id, times in accepted.items():
            if times > 1:
                raise Violation("submits", f"{generation_id} runs {times} times at the provider")


def _certain(state: AccountState, since: datetime, until: datetime) -> int:
    """What anybody could spend between two instants, whatever they spend it on."""
    if state.status is not AccountStatus.ACTIVE:
        return 0
    lots = [
        lot.free
        for lot in state.lots
        if not lot.restrict_to
        and lot.effective_at <= since - CLOCK_SET_BACK
        and (lot.expires_at is None or lot.expires_at > until)
    ]
    return sum(lots) + state.credit_limit - state.debt - state.held_on_credit


def _asked(submission: Submission) -> str:
    """A command in one line, without what it does not say."""
    command = submission.command
    said = [type(command).__name__, command.owner]
    for name in command.__struct_fields__:
        value = getattr(command, name)
        if name == "key" and value is not None:
            said.append(value.text)
        elif name not in ("owner", "key") and value not in (None, (), False):
            said.append(f"{name}={value}")
    return " ".join(said)


def _told(result: Done | LedgerError) -> str:
    if isinstance(result, Done):
        place = f" {result.answer.stream} {result.answer.version}" if result.answer else ""
        return ("again" if result.is_replay else "done") + place
    if isinstance(result, Rejected):
        return f"{ProblemCode(result.code)} {result.fields}"
    return repr(result)
