"""What a batch writes, gathered command by command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ledger_service.domain.account.settle import next_due
from ledger_service.domain.account.state import AccountState, Lot, parked
from ledger_service.domain.events import Event, encode, topic_of
from ledger_service.domain.events.account import CreditsGranted, DebitRefunded, LotDerived
from ledger_service.domain.generation.state import GenerationState, Job
from ledger_service.domain.ids import is_policy, owner_of, split_owner
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import (
    DebitState,
    Decision,
    HoldState,
    NewEvent,
    TenantDay,
    World,
)
from ledger_service.engine.submission import Submission
from ledger_service.store.columns import EventColumns, EventRow, HeadColumns, HeadRow, Writes
from ledger_service.store.heads import encode_state
from ledger_service.store.vault import Sealed

Place = tuple[str, str, int]
"""A stream whose head changes: owner, stream, and its version in the database (0: none)."""


class Changes:
    """Events in order, and which heads and rows they leave different."""

    def __init__(self) -> None:
        self._events: list[EventRow] = []
        self._heads_at: dict[str, tuple[str, int]] = {}  # stream -> owner, ordinal of its last
        self._created_lots: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._debits: dict[str, tuple[str, DebitState, int]] = {}
        self._holds: dict[str, HoldState] = {}
        self._begun: Counter[TenantDay] = Counter()
        self._crowds: dict[str, int] = {}  # tenant -> the least of what its orders say
        self._sealed: list[Sealed] = []
        self.new_subject_keys: dict[str, bytes] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing to write at all."""
        return not self._events and not self._jobs

    @property
    def streams(self) -> list[str]:
        """Streams whose heads change, in the order of their names."""
        return sorted(self._heads_at)

    def add(
        self, submission: Submission, decision: Decision, now: datetime, sealed: Sealed | None
    ) -> int:
        """Add an accepted command; returns the ordinal of its first event in the batch."""
        first = len(self._events) + 1
        # Encoded before anything is added: what cannot be stored must leave no trace here.
        rows = [_event_row(submission, new, now) for new in decision.events]
        if not rows:
            self._jobs.update(decision.jobs)
            return first
        rows[-1] = (*rows[-1][:-1], True)
        self._events += rows
        last = first + len(rows) - 1
        for new in decision.events:
            self._heads_at[new.stream] = (new.owner, last)
            self._note(new, decision)
        if sealed is not None:
            self._sealed.append(sealed)
        if decision.jobs:
            self._jobs.update(decision.jobs)
        if decision.holds:
            self._holds.update(decision.holds)
        if decision.tenant_day is not None:
            self._begun[decision.tenant_day] += 1
        if decision.tenant_crowd is not None:
            tenant, most = decision.tenant_crowd
            self._crowds[tenant] = min(most, self._crowds.get(tenant, most))
        return first

    def _note(self, new: NewEvent, decision: Decision) -> None:
        event: Event = new.event
        if isinstance(event, CreditsGranted | LotDerived):
            self._created_lots.add(event.grant_id)
        elif isinstance(event, DebitRefunded):
            debit = decision.debits[event.debit_id]
            assert debit is not None
            self._debits[event.debit_id] = (new.owner, debit, new.version)

    def writes(
        self, world: World, before: Mapping[str, int], rows_of_lots: Mapping[str, Lot]
    ) -> Writes:
        """Everything as the store takes it, and the world's accounts reduced to their heads.

        `before` has the version of each stream in the database, `rows_of_lots` the lots that were
        loaded from rows of their own.
        """
        heads: list[HeadRow] = []
        lots: list[dict[str, Any]] = []
        for stream in self.streams:
            owner, at = self._heads_at[stream]
            place = (owner, stream, before.get(stream, 0))
            if (account := world.accounts.get(stream)) is not None:
                head, beyond, left = parked(account)
                if beyond or left or rows_of_lots or self._created_lots:
                    lots += self._lot_rows(owner, head, beyond, left, rows_of_lots)
                heads.append(_head_of_account(place, at, head))
                world.accounts[stream] = head
            elif is_policy(stream):
                policy = world.policies[split_owner(owner)[0]]
                heads.append(_head(place, at, policy, "policy", policy.recorded_at))
            else:
                generation = world.generations[stream]
                assert generation is not None
                status, updated_at = generation.status, generation.updated_at
                heads.append(_head(place, at, generation, status, updated_at))
        return Writes(
            events=EventColumns.of(self._events),
            heads=HeadColumns.of(heads),
            rows=self._rows(lots) if lots or self._has_rows else {},
        )

    @property
    def _has_rows(self) -> bool:
        """Something beside events, heads and lots."""
        return bool(
            self._sealed or self._holds or self._debits or self._jobs or self.new_subject_keys
        )

    def _lot_rows(
        self,
        owner: str,
        head: AccountState,
        beyond: tuple[Lot, ...],
        left: tuple[Lot, ...],
        rows_of_lots: Mapping[str, Lot],
    ) -> list[dict[str, Any]]:
        """A row when a lot is created, overflows the head, returns to it, or leaves it."""
        rows = []
        for lot in head.lots:
            if lot.grant_id in self._created_lots or lot.grant_id in rows_of_lots:
                rows.append(_lot_row(owner, lot, "h"))
        for place, lots in (("o", beyond), ("l", left)):
            for lot in lots:
                if rows_of_lots.get(lot.grant_id) is not lot:
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
            "tenant_crowds": [
                {"tenant": tenant, "most": most} for tenant, most in sorted(self._crowds.items())
            ],
            "jobs": list(self._jobs.values()),
            "tenant_days": [
                {"tenant": it.tenant, "day": it.day, "most": it.most, "begun": begun}
                for it, begun in sorted(self._begun.items())
            ],
        }
        return {name: listed for name, listed in rows.items() if listed}


def _event_row(submission: Submission, new: NewEvent, now: datetime) -> EventRow:
    event, key = new.event, new.key
    space, digest, fingerprint = None, None, None
    if key is not None:
        space, digest, fingerprint = key.space, key.digest, submission.fingerprint
    return (
        new.owner,
        new.stream,
        new.version,
        topic_of(event),
        encode(event),
        submission.actor,
        space,
        digest,
        fingerprint,
        submission.trace_id,
        submission.occurred_at,
        now,
        False,
    )


def _lot_row(owner: str, lot: Lot, place: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "grant_id": lot.grant_id,
        "place": place,
        "state": encode_state(lot).decode(),
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
        "state": encode_state(held).decode(),
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


def _head_of_account(place: Place, at: int, head: AccountState) -> HeadRow:
    return (
        *place,
        head.version,
        head.recorded_at,
        at,
        head.posted,
        head.held,
        head.debt,
        head.credit_limit,
        head.status,
        next_due(head),
        encode_state(head),
    )


def _head(
    place: Place,
    at: int,
    state: GenerationState | PolicyState,
    status: str,
    recorded_at: datetime,
) -> HeadRow:
    """The head of a stream without balances."""
    balances = (0, 0, 0, 0)
    return (*place, state.version, recorded_at, at, *balances, status, None, encode_state(state))
