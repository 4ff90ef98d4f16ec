"""What events concern: the things that bear a caller's reference, the lots that pay, the holds."""

from __future__ import annotations

from typing import NamedTuple

from ledger_service.domain.events import Event
from ledger_service.domain.events.account import (
    AccountEvent,
    CreditsDebited,
    CreditsGranted,
    Slice,
)
from ledger_service.domain.events.clawbacks import GrantClawedBack
from ledger_service.domain.events.generation import GenerationRequested
from ledger_service.domain.events.holds import (
    HoldCaptured,
    HoldEnded,
    HoldExtended,
    HoldPlaced,
    HoldsReleased,
)
from ledger_service.domain.events.standing import SchedulesSet


class Bearing(NamedTuple):
    """A thing (`grant debit hold generation clawback schedule`) with its id and its credits.

    A clawback has the id of its grant. A schedule is named each time it is set; the grants that
    it makes bear its reference too.
    """

    reference: str
    kind: str
    id: str
    amount: int


def bearings_of(event: Event) -> tuple[Bearing, ...]:
    """What the event brought about under a reference, in a fixed order."""
    match event:
        case CreditsGranted():
            return _bearing(event.reference, "grant", event.grant_id, event.amount)
        case CreditsDebited():
            return _bearing(event.reference, "debit", event.debit_id, event.amount)
        case HoldPlaced():
            return _bearing(event.hold.reference, "hold", event.hold.hold_id, event.hold.amount)
        case HoldCaptured():
            return _bearing(event.hold.reference, "debit", event.debit_id, event.amount)
        case GenerationRequested():
            return _bearing(event.reference, "generation", event.generation_id, event.price)
        case GrantClawedBack() if event.origin_owner is None:
            return _bearing(event.reference, "clawback", event.grant_id, event.claim)
        case SchedulesSet():
            found = [
                _bearing(schedule.reference, "schedule", schedule.schedule_id, schedule.amount)
                for schedule in event.schedules
            ]
            return tuple([bearing for each in found for bearing in each])
    return ()


def uses_of(event: AccountEvent) -> tuple[Slice, ...]:
    """What a debit took from lots."""
    return event.slices if isinstance(event, CreditsDebited | HoldCaptured) else ()


def changed_holds(event: AccountEvent) -> tuple[str, ...]:
    """Ids of the holds that the event placed or changed."""
    if isinstance(event, HoldPlaced | HoldExtended | HoldEnded):
        return (event.hold.hold_id,)
    if isinstance(event, HoldsReleased):
        return tuple([part.grant_id for part in event.holds])
    return ()


def _bearing(reference: str | None, kind: str, id_: str, amount: int) -> tuple[Bearing, ...]:
    return () if reference is None else (Bearing(reference, kind, id_, amount),)
