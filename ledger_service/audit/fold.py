"""The log folded from nothing: every stream's state, event by event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger_service.domain.account.evolve import evolve, touched_lots
from ledger_service.domain.account.state import AccountState, Lot, with_lots
from ledger_service.domain.events.account import AccountEvent, CreditsDebited, DebitRefunded
from ledger_service.domain.events.holds import (
    HoldCaptured,
    HoldEnded,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    HoldsReleased,
)
from ledger_service.domain.events.policy import PolicyEvent, PolicySet
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import HoldState
from ledger_service.errors import CorruptHistory


class Fold:
    """Every stream's state, folded event by event. Lots with nothing left wait on a shelf."""

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.generations: dict[str, GenerationState] = {}
        self.policies: dict[str, PolicyState] = {}
        self.holds: dict[tuple[str, str], HoldState] = {}
        self.shelves: dict[str, dict[str, Lot]] = {}
        self.refunds: dict[tuple[str, str], DebitRefunded] = {}
        self.debits: dict[tuple[str, str], int] = {}

    def add(self, owner: str, stream: str, version: int, event: Any, recorded_at: datetime) -> None:
        """Fold one event. Raises `CorruptHistory` when it cannot follow what came before."""
        if isinstance(event, AccountEvent):
            self._add_account(owner, stream, version, event, recorded_at)
        elif isinstance(event, PolicyEvent):
            self._add_policy(stream, version, event, recorded_at)
        else:
            before = self.generations.get(stream)
            _expect(version == (before.version if before else 0) + 1, stream, version)
            self.generations[stream] = evolve_generation(
                before, event, version, recorded_at, owner=owner
            )

    def _add_account(
        self, owner: str, stream: str, version: int, event: AccountEvent, recorded_at: datetime
    ) -> None:
        state = self.accounts.get(stream)
        _expect(version == (state.version if state else 0) + 1, stream, version)
        if stream in self.shelves:
            assert state is not None, "what is shelved came from a state"
            state = self._unshelved(state, stream, event)
        state = evolve(state, event, version, recorded_at)
        _expect(event.posted == state.posted and event.held == state.held, stream, version)
        note = _NOTED.get(type(event))
        if note is not None:
            note(self, owner, event)
        self.accounts[stream] = self._shelved(state, stream)

    def _add_policy(
        self, stream: str, version: int, event: PolicyEvent, recorded_at: datetime
    ) -> None:
        before = self.policies.get(stream)
        _expect(version == (before.version if before else 0) + 1, stream, version)
        assert isinstance(event, PolicySet)
        self.policies[stream] = PolicyState(
            version=version, recorded_at=recorded_at, policy=event.policy
        )

    def _unshelved(self, state: AccountState, stream: str, event: AccountEvent) -> AccountState:
        shelf = self.shelves[stream]
        lots = [shelf.pop(grant_id) for grant_id in touched_lots(event) if grant_id in shelf]
        return with_lots(state, lots, all_live=True) if lots else state

    def _shelved(self, state: AccountState, stream: str) -> AccountState:
        for lot in state.lots:
            if not lot.remaining:
                break
        else:
            return state
        left = {lot.grant_id: lot for lot in state.lots if not lot.is_live}
        self.shelves.setdefault(stream, {}).update(left)
        live = tuple([lot for lot in state.lots if lot.is_live])
        return msgspec.structs.replace(state, lots=live)

    def _note_debit(self, owner: str, event: CreditsDebited | HoldCaptured) -> None:
        self.debits[owner, event.debit_id] = event.amount

    def _note_capture(self, owner: str, event: HoldCaptured) -> None:
        self._note_debit(owner, event)
        self._note_hold_change(owner, event)

    def _note_refund(self, owner: str, event: DebitRefunded) -> None:
        place = (owner, event.debit_id)
        before = self.refunds.get(place)
        total = (before.refunded if before else 0) + event.amount
        if total != event.refunded or total > self.debits.get(place, 0):
            raise CorruptHistory(f"{event.debit_id}: refunded {total} of a smaller debit")
        self.refunds[place] = event

    def _note_hold(self, owner: str, event: HoldPlaced) -> None:
        self.holds[owner, event.hold.hold_id] = HoldState(
            owner=owner,
            hold=event.hold,
            slices=event.slices,
            on_credit=event.on_credit,
            limits=event.limits,
        )

    def _note_hold_change(self, owner: str, event: HoldEnded | HoldExtended) -> None:
        place = (owner, event.hold.hold_id)
        self.holds[place] = msgspec.structs.replace(self._open_hold(place), hold=event.hold)

    def _note_releases(self, owner: str, event: HoldsReleased) -> None:
        for part in event.holds:
            place = (owner, part.grant_id)
            held = self._open_hold(place)
            hold = msgspec.structs.replace(held.hold, status="released", released=part.amount)
            self.holds[place] = msgspec.structs.replace(held, hold=hold)

    def _open_hold(self, place: tuple[str, str]) -> HoldState:
        held = self.holds.get(place)
        if held is None or not held.is_open:
            raise CorruptHistory(f"{place[1]}: not an open hold")
        return held


_NOTED: Final[dict[type[AccountEvent], Callable[[Fold, str, Any], None]]] = {
    CreditsDebited: Fold._note_debit,
    DebitRefunded: Fold._note_refund,
    HoldPlaced: Fold._note_hold,
    HoldExtended: Fold._note_hold_change,
    HoldCaptured: Fold._note_capture,
    HoldReleased: Fold._note_hold_change,
    HoldExpired: Fold._note_hold_change,
    HoldsReleased: Fold._note_releases,
}


def _expect(holds: bool, stream: str, version: int) -> None:
    if not holds:
        raise CorruptHistory(f"{stream} {version}: does not follow from what came before")
