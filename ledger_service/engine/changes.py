"""What a batch writes, gathered command by command."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import AccountState, Lot, parked
from ledger_service.domain.events import Event, encode, topic_of
from ledger_service.domain.events.account import CreditsGranted, DebitRefunded, LotDerived
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.ids import is_policy, owner_of, split_owner
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import DebitState, Decision, HoldState, NewEvent, World
from ledger_service.engine.loading import Loader
from ledger_service.engine.submission import Submission
from ledger_service.store.columns import EventColumns, HeadColumns
from ledger_service.store.heads import encode_state
from ledger_service.store.vault import Sealed


class Place(NamedTuple):
    """A stream whose head changes: `at` is the ordinal of its last event in the batch."""

    owner: str
    stream: str
    is_new: bool
    at: int


class Changes:
    """Events in order, and which heads and rows they leave different."""

    def __init__(self) -> None:
        self._events = EventColumns()
        self._heads_at: dict[str, tuple[str, int]] = {}  # stream -> owner, ordinal of its last
        self._created_lots: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._debits: dict[str, tuple[str, DebitState, int]] = {}
        self._holds: dict[str, HoldState] = {}
        self._sealed: list[Sealed] = []
        self.new_subject_keys: dict[str, bytes] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing to write at all."""
        return not self._events.stream and not self._jobs

    def add(
        self, submission: Submission, decision: Decision, now: datetime, sealed: Sealed | None
    ) -> int:
        """Add an accepted command; returns the ordinal of its first event in the batch."""
        first = len(self._events.stream) + 1
        last = first + len(decision.events) - 1
        for new in decision.events:
            self._add_event(submission, new, now)
            self._heads_at[new.stream] = (new.owner, last)
            self._note(new, decision)
        if decision.events:
            self._events.last[-1] = True
            if sealed is not None:
                self._sealed.append(sealed)
        self._jobs.update(decision.jobs)
        self._holds.update(decision.holds)
        return first

    def _add_event(self, submission: Submission, new: NewEvent, now: datetime) -> None:
        columns, key = self._events, new.key
        columns.owner.append(new.owner)
        columns.stream.append(new.stream)
        columns.version.append(new.version)
        columns.topic.append(topic_of(new.event))
        columns.state.append(encode(new.event).decode())
        columns.actor.append(submission.actor)
        columns.key_space.append(key.space if key else None)
        columns.key_digest.append(key.digest if key else None)
        columns.fingerprint.append(submission.fingerprint if key else None)
        columns.trace_id.append(submission.trace_id)
        columns.occurred_at.append(submission.occurred_at)
        columns.recorded_at.append(now)
        columns.last.append(False)

    def _note(self, new: NewEvent, decision: Decision) -> None:
        event: Event = new.event
        if isinstance(event, CreditsGranted | LotDerived):
            self._created_lots.add(event.grant_id)
        elif isinstance(event, DebitRefunded):
            debit = decision.debits[event.debit_id]
            assert debit is not None
            self._debits[event.debit_id] = (new.owner, debit, new.version)

    def columns(
        self, world: World, loader: Loader
    ) -> tuple[EventColumns, HeadColumns, dict[str, Any]]:
        """Everything as the store takes it."""
        heads, lots = HeadColumns(), []
        for stream in sorted(self._heads_at):
            owner, at = self._heads_at[stream]
            place = Place(owner, stream, stream not in loader.streams_with_head, at)
            if is_policy(stream):
                _add_policy(heads, place, world.policies[split_owner(owner)[0]])
            elif account := world.accounts.get(stream):
                head, beyond, left = parked(account)
                lots += self._lot_rows(owner, head, beyond, left, loader)
                _add_account(heads, place, head)
            else:
                generation = world.generations[stream]
                assert generation is not None
                _add_generation(heads, place, generation)
        return self._events, heads, self._rows(lots)

    def _lot_rows(
        self,
        owner: str,
        head: AccountState,
        beyond: tuple[Lot, ...],
        left: tuple[Lot, ...],
        loader: Loader,
    ) -> list[dict[str, Any]]:
        """A row when a lot is created, overflows the head, returns to it, or leaves it."""
        rows = []
        for lot in head.lots:
            if lot.grant_id in self._created_lots or lot.grant_id in loader.rows_of_lots:
                rows.append(_lot_row(owner, lot, "h"))
        for place, lots in (("o", beyond), ("l", left)):
            for lot in lots:
                if loader.rows_of_lots.get(lot.grant_id) is not lot:
                    rows.append(_lot_row(owner, lot, place))
        return rows

    def _rows(self, lots: list[dict[str, Any]]) -> dict[str, Any]:
        rows: dict[str, list[Any]] = {
            # Sorted, like all that two writers may want at once: else they could deadlock.
            "subject_keys": [
                {"owner": owner, "wrapped_key": wrapped.hex()}
                for owner, wrapped in sorted(self.new_subject_keys.items())
            ],
            "vault": [
                {
                    "owner": entry.owner,
                    "digest": entry.digest.hex(),
                    "ciphertext": entry.ciphertext.hex(),
                }
                for entry in self._sealed
            ],
            "lots": lots,
            "holds": [_hold_row(hold) for _, hold in sorted(self._holds.items())],
            "debit_refunds": [_debit_row(*debit) for debit in self._debits.values()],
            "jobs": list(self._jobs.values()),
        }
        return {name: listed for name, listed in rows.items() if listed}


def _lot_row(owner: str, lot: Lot, place: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "grant_id": lot.grant_id,
        "place": place,
        "state": encode_state(lot),
        "origin_owner": _home_of_origin(owner, lot),
        "origin": lot.origin,
    }


def _home_of_origin(owner: str, lot: Lot) -> str | None:
    if lot.origin is None:
        return None
    if lot.from_account is None:
        return owner
    return owner_of(split_owner(owner)[0], lot.from_account)


def _hold_row(held: HoldState) -> dict[str, Any]:
    return {
        "owner": held.owner,
        "hold_id": held.hold.hold_id,
        "reference": held.hold.reference,
        "status": held.hold.status,
        "placed_at": held.hold.created_at,
        "expires_at": held.hold.expires_at,
        "state": encode_state(held),
    }


def _debit_row(owner: str, debit: DebitState, version: int) -> dict[str, Any]:
    return {
        "owner": owner,
        "debit_id": debit.debit_id,
        "amount": debit.amount,
        "refunded": debit.refunded,
        "taken": [*(taken.amount for taken in debit.slices), debit.on_credit],
        "given_back": [*debit.slices_refunded, debit.credit_refunded],
        "refund_version": version,
    }


def _add_account(heads: HeadColumns, place: Place, head: AccountState) -> None:
    _add_head(heads, place, head.version, head.recorded_at, head.status, head)
    heads.posted.append(head.posted)
    heads.held.append(head.held)
    heads.debt.append(head.debt)
    heads.credit_limit.append(head.credit_limit)
    heads.next_expiry_at.append(next_due(head))


def _add_policy(heads: HeadColumns, place: Place, state: PolicyState) -> None:
    _add_head(heads, place, state.version, state.recorded_at, "policy", state)
    _without_balances(heads)


def _add_generation(heads: HeadColumns, place: Place, state: GenerationState) -> None:
    _add_head(heads, place, state.version, state.updated_at, state.status, state)
    _without_balances(heads)


def _add_head(
    heads: HeadColumns,
    place: Place,
    version: int,
    recorded_at: datetime,
    status: str,
    state: AccountState | GenerationState | PolicyState,
) -> None:
    heads.owner.append(place.owner)
    heads.stream.append(place.stream)
    heads.is_new.append(place.is_new)
    heads.at.append(place.at)
    heads.version.append(version)
    heads.recorded_at.append(recorded_at)
    heads.status.append(status)
    heads.snapshot.append(encode_state(state))


def _without_balances(heads: HeadColumns) -> None:
    for column in (heads.posted, heads.held, heads.debt, heads.credit_limit):
        column.append(0)
    heads.next_expiry_at.append(None)
