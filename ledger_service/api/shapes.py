"""States and events as the API shows them now. First answers are frozen: see replies.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from contracts.api.accounts import Account, Balance
from contracts.api.common import LotAmount, Source
from contracts.api.debits import Debit, Refund
from contracts.api.grants import Grant
from contracts.api.log import Direction, Entry
from ledger_service.domain.account.balance import available, unbooked
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.events import topic_of
from ledger_service.domain.events.account import (
    AccountEvent,
    AccountOpened,
    CreditLimitChanged,
    CreditsDebited,
    CreditsExpired,
    CreditsGranted,
    DebitRefunded,
    LotDerived,
    Slice,
)
from ledger_service.store.stored import StoredEvent

Private = dict[str, Any]
"""What the vault keeps of a command: `reason` when it is free text, `metadata`."""

ERASED: Final = "erased"
"""Shown for free text that has been erased with its owner's key."""


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
    )


def debit_of(stored: StoredEvent, refunded: int, private: Private | None) -> Debit:
    """A debit with what was given back of it so far."""
    event = stored.event
    assert isinstance(event, CreditsDebited)
    return Debit(
        debit_id=event.debit_id,
        amount=event.amount,
        refunded=refunded,
        reason=reason_of(event.reason, private),
        reference=event.reference,
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
    """One line of a statement; amounts by their direction add up to the balance.

    A lot derived from another moves nothing in or out by itself.
    """
    event = stored.event
    assert isinstance(event, AccountEvent)
    return Entry(
        position=stored.position,
        version=stored.version,
        type=topic_of(event).partition(".")[0],
        amount=_amount(event),
        direction=_direction(event),
        posted_after=event.posted,
        held_after=event.held,
        recorded_at=stored.recorded_at,
        reference=getattr(event, "reference", None),
        actor=stored.actor,
        details=_details(event, private),
    )


def _amount(event: AccountEvent) -> int:
    if isinstance(event, DebitRefunded):
        return event.amount - event.restored  # that part enters with the lot that follows
    amount: int = getattr(event, "amount", 0)
    return amount


def _direction(event: AccountEvent) -> Direction:
    match event:
        case CreditsGranted():
            return Direction.CREDIT
        case DebitRefunded():
            return Direction.CREDIT if _amount(event) else Direction.NONE
        case LotDerived():
            return Direction.CREDIT if event.origin is None else Direction.NONE
        case CreditsDebited() | CreditsExpired():
            return Direction.DEBIT
    return Direction.NONE


def _details(event: AccountEvent, private: Private | None) -> dict[str, Any]:
    match event:
        case AccountOpened():
            return {"unit": event.unit, "credit_limit": event.credit_limit}
        case CreditLimitChanged():
            return {"credit_limit": event.credit_limit}
        case CreditsGranted():
            granted = {"grant_id": event.grant_id, "source": event.source, "repaid": event.repaid}
            return granted | {"expires_at": event.expires_at}
        case CreditsDebited():
            details: dict[str, Any] = {"debit_id": event.debit_id}
            details |= {"lots": lot_amounts(event.slices), "on_credit": event.on_credit}
            details |= {"reason": reason_of(event.reason, private)}
            return details | {"generation_id": event.generation_id, "model": event.model}
        case DebitRefunded():
            details = {"refund_id": event.refund_id, "debit_id": event.debit_id}
            details |= {"lots": lot_amounts(event.slices), "debt_cancelled": event.debt_cancelled}
            details |= {"restored": event.restored, "refunded": event.amount}
            details |= {"reason": reason_of(event.reason, private)}
            return details | {"generation_id": event.generation_id}
        case LotDerived():
            return {"grant_id": event.grant_id, "kind": event.kind, "origin": event.origin}
        case CreditsExpired():
            return {"lots": lot_amounts(event.slices)}
    return {}


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
    """The vault entry that an event names, if any."""
    digest: str | None = getattr(event, "private", None)
    return digest
