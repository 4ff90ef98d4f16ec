"""States and events as the API shows them now. First answers are frozen: see replies.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from contracts.api.accounts import Account, Balance
from contracts.api.common import LotAmount, Source
from contracts.api.debits import Debit, Refund
from contracts.api.grants import Clawback, Grant, GrantKind, Origin
from contracts.api.holds import Hold, HoldStatus
from contracts.api.log import Entry
from ledger_service.api.entry_details import details_of
from ledger_service.domain.account.balance import available, unbooked
from ledger_service.domain.account.entries import entry_type, movement_of, reference_of
from ledger_service.domain.account.grant_views import clawback_after
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events.account import (
    AccountEvent,
    CreditsDebited,
    CreditsGranted,
    DebitRefunded,
    Slice,
)
from ledger_service.domain.events.clawbacks import GrantClawedBack, GrantExpiryChanged, GrantVoided
from ledger_service.domain.events.holds import (
    HoldAfter,
    HoldCaptured,
    HoldEnded,
    HoldExtended,
    HoldPlaced,
)
from ledger_service.domain.ids import split_owner
from ledger_service.store.stored import StoredEvent

Private = dict[str, Any]
"""What the vault keeps of a command: `reason` when it is free text, `metadata`."""

ERASED: Final = "erased"
"""Shown for free text that has been erased with its owner's key."""

_OF_A_HOLD: Final = (HoldPlaced, HoldExtended, HoldEnded)
_OF_A_GRANT: Final = (GrantClawedBack, GrantVoided, GrantExpiryChanged)


def account_of(state: AccountState, position: int, now: datetime) -> Account:
    """The account with what may be spent at `now`; expiry counts from its instant on."""
    return Account(
        account_id=state.account_id,
        unit=state.unit,
        status=state.status,
        version=state.version,
        position=position,
        balance=Balance(
            posted=state.posted,
            held=state.held,
            available=available(state, now),
            debt=state.debt,
            credit_limit=state.credit_limit,
            pending_expiry=unbooked(state, now),
        ),
        merged_into=state.merged_into,
        opened_at=state.opened_at,
    )


def grant_of(lot: Lot, made_by: StoredEvent, private: Private | None, now: datetime) -> Grant:
    """A lot. What has expired no longer remains, booked or not."""
    event = made_by.event
    granted = event if isinstance(event, CreditsGranted) else None
    lapsed = lot.free if lot.is_expired(now) else 0
    return Grant(
        grant_id=lot.grant_id,
        amount=lot.amount,
        remaining=lot.remaining - lapsed,
        held=lot.held,
        spent=lot.spent,
        source=Source(lot.source),
        priority=lot.priority,
        effective_at=lot.effective_at,
        expires_at=lot.expires_at,
        unit_cost_micros=lot.unit_cost_micros,
        currency=granted.currency if granted else None,
        restrict_to=lot.restrict_to,
        reference=granted.reference if granted else None,
        metadata=metadata_of(private),
        created_at=made_by.recorded_at,
        kind=GrantKind(lot.kind),
        origin=_origin_of(lot, split_owner(made_by.owner)[1]),
        voided=lot.is_voided,
        clawback=_clawback_of(lot),
    )


def _origin_of(lot: Lot, account_id: str) -> Origin | None:
    if lot.origin is None:
        return None
    return Origin(account_id=lot.from_account or account_id, grant_id=lot.origin)


def _clawback_of(lot: Lot) -> Clawback | None:
    parts = clawback_after(lot)
    if parts is None:
        return None
    return Clawback(
        target=parts.target,
        taken=parts.taken,
        absorbed=parts.absorbed,
        owed=parts.owed,
        repaid=parts.repaid,
        forwarded=parts.forwarded,
    )


def hold_of(hold: HoldAfter, private: Private | None) -> Hold:
    """A hold as it stands after its newest event."""
    return Hold(
        hold_id=hold.hold_id,
        amount=hold.amount,
        captured=hold.captured,
        released=hold.released,
        status=HoldStatus(hold.status),
        expires_at=hold.expires_at,
        reason=reason_of(hold.reason, private),
        reference=hold.reference,
        metadata=metadata_of(private),
        created_at=hold.created_at,
    )


def debit_of(stored: StoredEvent, refunded: int, private: Private | None) -> Debit:
    """A debit, or a captured hold, with what was given back of it so far."""
    event = stored.event
    assert isinstance(event, CreditsDebited | HoldCaptured)
    asked = event.hold if isinstance(event, HoldCaptured) else event
    return Debit(
        debit_id=event.debit_id,
        amount=event.amount,
        refunded=refunded,
        reason=reason_of(asked.reason, private),
        reference=asked.reference,
        lots=lot_amounts(event.slices),
        metadata=metadata_of(private),
        created_at=stored.recorded_at,
    )


def refund_of(stored: StoredEvent, private: Private | None) -> Refund:
    """A refund."""
    event = stored.event
    assert isinstance(event, DebitRefunded)
    return Refund(
        refund_id=event.refund_id,
        debit_id=event.debit_id,
        amount=event.amount,
        reason=reason_of(event.reason, private),
        lots=lot_amounts(event.slices),
        created_at=stored.recorded_at,
    )


def entry_of(stored: StoredEvent, private: Private | None) -> Entry:
    """One line of a statement; amounts by their direction add up to the balance."""
    event = stored.event
    assert isinstance(event, AccountEvent)
    movement = movement_of(event)
    return Entry(
        position=stored.position,
        version=stored.version,
        type=entry_type(event),
        amount=movement.amount,
        direction=movement.direction,
        posted_after=event.posted,
        held_after=event.held,
        recorded_at=stored.recorded_at,
        reference=reference_of(event),
        actor=stored.actor,
        details=details_of(event, _reason(event, private)),
    )


def _reason(event: AccountEvent, private: Private | None) -> str | None:
    code = event.hold.reason if isinstance(event, _OF_A_HOLD) else getattr(event, "reason", None)
    has_none = isinstance(event, CreditsGranted) and not event.is_adjustment
    if has_none or (code is None and private_digest(event) is None):
        return None
    return reason_of(code, private)


def lot_amounts(slices: tuple[Slice, ...]) -> tuple[LotAmount, ...]:
    """Slices as the API names them."""
    return tuple([LotAmount(grant_id=part.grant_id, amount=part.amount) for part in slices])


def reason_of(code: str | None, private: Private | None) -> str:
    """The code in the event, or the free text in the vault."""
    if code is not None:
        return code
    text: str = (private or {}).get("reason", ERASED)
    return text


def metadata_of(private: Private | None) -> dict[str, Any]:
    """The caller's metadata; empty when there is none, or no longer."""
    found: dict[str, Any] = (private or {}).get("metadata", {})
    return found


def private_digest(event: object) -> str | None:
    """The vault entry with an event's own words, if any; a hold's events have those of the hold."""
    if isinstance(event, _OF_A_HOLD):
        return event.hold.private
    digest: str | None = getattr(event, "private", None)
    return digest


def answer_digest(event: object) -> str | None:
    """The vault entry that the first answer shows: where that is a grant, the grant's."""
    if isinstance(event, _OF_A_GRANT):
        return event.grant.private if event.grant else None
    return private_digest(event)


def shows_earlier(event: object) -> bool:
    """Whether the answer shows something that was made, with its words, by an earlier command."""
    return isinstance(event, (HoldEnded, HoldExtended, *_OF_A_GRANT))
