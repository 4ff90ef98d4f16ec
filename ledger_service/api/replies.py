"""First answers to keyed commands, rendered from the event that bears the key.

A replay must be the first answer byte for byte, for ever. So the functions of a version never
change once they have been in use, and neither do the shapes they fill, which is why those are
spelled out here: whoever wants another answer adds a version, and `Answer.reply` says which
version made the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from ledger_service.api.shapes import Private, metadata_of, reason_of
from ledger_service.domain.events import Event
from ledger_service.domain.events.account import (
    AccountOpened,
    Answer,
    CommandAccepted,
    CommandVoided,
    CreditsDebited,
    CreditsGranted,
    DebitRefunded,
    Slice,
)
from ledger_service.domain.ids import split_owner


class Bearer(Protocol):
    """A recorded event that bears a key, fresh from the engine or read back."""

    @property
    def position(self) -> int:
        """Its position in the log."""

    @property
    def owner(self) -> str:
        """Tenant and account."""

    @property
    def event(self) -> Event:
        """The event itself; its `command` says what the first answer said of the account."""

    @property
    def recorded_at(self) -> datetime:
        """The command's time."""


Renderer = Callable[[Bearer, Private | None], dict[str, Any]]

_ENCODER: Final = msgspec.json.Encoder()
_RENDERERS: dict[tuple[int, type[Event]], Renderer] = {}


def renders(reply_version: int, event_type: type[Event]) -> Callable[[Renderer], Renderer]:
    """Register what makes the answers of this version for commands borne by such events."""

    def register(renderer: Renderer) -> Renderer:
        assert (reply_version, event_type) not in _RENDERERS
        _RENDERERS[reply_version, event_type] = renderer
        return renderer

    return register


def answer_in(bearer: Bearer) -> Answer:
    """What the event keeps of the first answer."""
    answer: Answer | None = getattr(bearer.event, "command", None)
    assert answer is not None, "an event that bears a key keeps its answer"
    return answer


def render(bearer: Bearer, private: Private | None) -> bytes:
    """The first answer's body."""
    renderer = _RENDERERS[answer_in(bearer).reply, type(bearer.event)]
    return _ENCODER.encode(renderer(bearer, private))


def outcome_v1(bearer: Bearer) -> dict[str, Any]:
    """What every answer begins with: position, time, and the account after the command."""
    answer = answer_in(bearer)
    position = bearer.position + answer.trailing
    return {
        "position": position,
        "recorded_at": bearer.recorded_at,
        "account": {
            "account_id": split_owner(bearer.owner)[1],
            "unit": answer.unit,
            "status": answer.status,
            "version": answer.version,
            "position": position,
            "balance": {
                "posted": answer.posted,
                "held": answer.held,
                "available": answer.available,
                "debt": answer.debt,
                "credit_limit": answer.credit_limit,
                "pending_expiry": answer.pending_expiry,
            },
            "merged_into": None,
            "opened_at": answer.opened_at,
        },
    }


@renders(1, AccountOpened)
def _opened_v1(bearer: Bearer, _: Private | None) -> dict[str, Any]:
    return outcome_v1(bearer)


@renders(1, CreditsGranted)
def _granted_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsGranted)
    grant = {
        "grant_id": event.grant_id,
        "amount": event.amount,
        "remaining": event.amount - event.repaid,
        "held": 0,
        "spent": 0,
        "source": event.source,
        "priority": event.priority,
        "effective_at": event.effective_at,
        "expires_at": event.expires_at,
        "unit_cost_micros": event.unit_cost_micros,
        "currency": event.currency,
        "restrict_to": event.restrict_to,
        "reference": event.reference,
        "metadata": metadata_of(private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"grant": grant}


@renders(1, CreditsDebited)
def _debited_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsDebited)
    if event.generation_id is not None:
        return _requested_v1(bearer, private, charged=event.amount, debit_id=event.debit_id)
    debit = {
        "debit_id": event.debit_id,
        "amount": event.amount,
        "refunded": 0,
        "reason": reason_of(event.reason, private),
        "reference": event.reference,
        "lots": _lots_v1(event.slices),
        "metadata": metadata_of(private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"debit": debit}


@renders(1, DebitRefunded)
def _refunded_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, DebitRefunded)
    refund = {
        "refund_id": event.refund_id,
        "debit_id": event.debit_id,
        "amount": event.amount,
        "reason": reason_of(event.reason, private),
        "lots": _lots_v1(event.slices),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"refund": refund}


@renders(1, CommandVoided)
def _voided_v1(bearer: Bearer, _: Private | None) -> dict[str, Any]:
    return outcome_v1(bearer) | {"voided": True}


@renders(1, CommandAccepted)
def _accepted_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    return _requested_v1(bearer, private, charged=0, debit_id=None)


def _requested_v1(
    bearer: Bearer, private: Private | None, *, charged: int, debit_id: str | None
) -> dict[str, Any]:
    """A generation as it stood when it was asked for."""
    event = bearer.event
    assert isinstance(event, CreditsDebited | CommandAccepted)
    generation = {
        "generation_id": event.generation_id,
        "account_id": split_owner(bearer.owner)[1],
        "model": event.model,
        "status": "requested",
        "input": (private or {}).get("input", {}),
        "price": charged,
        "charged": charged,
        "refunded": 0,
        "debit_id": debit_id,
        "refund_id": None,
        "quote_id": None,
        "reference": event.reference,
        "metadata": metadata_of(private),
        "attempts": 0,
        "failure": None,
        "result": None,
        "cancel_requested_at": None,
        "created_at": bearer.recorded_at,
        "updated_at": bearer.recorded_at,
        "finished_at": None,
    }
    return outcome_v1(bearer) | {"generation": generation}


def _lots_v1(slices: tuple[Slice, ...]) -> list[dict[str, Any]]:
    return [{"grant_id": part.grant_id, "amount": part.amount} for part in slices]
