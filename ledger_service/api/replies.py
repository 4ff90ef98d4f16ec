"""First answers to grants, debits, refunds and generations, rendered from the event that bears the
key. See answers.py for what may never change here.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

import ledger_service.api.replies_of_holds
import ledger_service.api.replies_of_operators  # noqa: F401 - imported to be registered
from contracts.api.prices import PriceLine
from contracts.jobs import JobPriority
from ledger_service.api.answers import (
    Bearer,
    answer_in,
    lots_v1,
    outcome_v1,
    renderer_of,
    renders,
)
from ledger_service.api.shapes import Private, metadata_of, reason_of
from ledger_service.domain.events.account import (
    AccountOpened,
    CommandAccepted,
    CommandVoided,
    CreditsDebited,
    CreditsGranted,
    DebitRefunded,
    Slice,
)
from ledger_service.domain.events.generation import GenerationFlagged
from ledger_service.domain.ids import generation_in, split_owner

__all__ = ["answer_in", "render"]

_ENCODER: Final = msgspec.json.Encoder()


def render(bearer: Bearer, private: Private | None) -> bytes:
    """The first answer's body."""
    return _ENCODER.encode(renderer_of(bearer)(bearer, private))


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


@renders(2, CreditsGranted)
def _granted_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsGranted)
    if event.is_adjustment:
        slices = (Slice(event.grant_id, event.amount),)
        return _adjusted_v2(bearer, private, event.grant_id, "credit", slices)
    reply = _granted_v1(bearer, private)
    if answer_in(bearer).merged_into is not None:
        reply["grant"]["remaining"] = 0  # it went on in the same command
    reply["grant"] |= {"kind": "grant", "origin": None, "voided": False, "clawback": None}
    return reply


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
        "lots": lots_v1(event.slices),
        "metadata": metadata_of(private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"debit": debit}


@renders(2, CreditsDebited)
def _debited_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsDebited)
    if not event.is_adjustment:
        return _debited_v1(bearer, private)
    return _adjusted_v2(bearer, private, event.debit_id, "debit", event.slices)


@renders(3, CreditsDebited)
def _debited_v3(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsDebited)
    if event.generation_id is None:
        return _debited_v2(bearer, private)
    return _requested_v3(bearer, private, charged=event.amount, debit_id=event.debit_id)


@renders(4, CreditsDebited)
def _debited_v4(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsDebited)
    reply = _debited_v3(bearer, private)
    return reply if event.generation_id is None else _themed_v4(reply, event.theme)


@renders(5, CreditsDebited)
def _debited_v5(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsDebited)
    reply = _debited_v4(bearer, private)
    return reply if event.generation_id is None else _urgent_v5(reply, event.priority)


def _adjusted_v2(
    bearer: Bearer,
    private: Private | None,
    adjustment_id: str,
    direction: str,
    slices: tuple[Slice, ...],
) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsGranted | CreditsDebited)
    adjustment = {
        "adjustment_id": adjustment_id,
        "amount": event.amount,
        "direction": direction,
        "reason": reason_of(event.reason, private),
        "lots": lots_v1(slices),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"adjustment": adjustment}


@renders(1, DebitRefunded)
def _refunded_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, DebitRefunded)
    refund = {
        "refund_id": event.refund_id,
        "debit_id": event.debit_id,
        "amount": event.amount,
        "reason": reason_of(event.reason, private),
        "lots": lots_v1(event.slices),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"refund": refund}


@renders(1, CommandVoided)
def _voided_v1(bearer: Bearer, _: Private | None) -> dict[str, Any]:
    return outcome_v1(bearer) | {"voided": True}


@renders(1, CommandAccepted)
def _accepted_v1(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    return _requested_v1(bearer, private, charged=0, debit_id=None)


@renders(3, CommandAccepted)
def _accepted_v3(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    return _requested_v3(bearer, private, charged=0, debit_id=None)


@renders(4, CommandAccepted)
def _accepted_v4(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CommandAccepted)
    return _themed_v4(_accepted_v3(bearer, private), event.theme)


@renders(5, CommandAccepted)
def _accepted_v5(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CommandAccepted)
    return _urgent_v5(_accepted_v4(bearer, private), event.priority)


@renders(5, GenerationFlagged)
def _flagged_v5(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event, answer = bearer.event, answer_in(bearer)
    assert isinstance(event, GenerationFlagged)
    return {
        "position": bearer.position + answer.trailing,
        "recorded_at": bearer.recorded_at,
        "flag": {
            "flag_id": event.flag_id,
            "generation_id": generation_in(bearer.stream),
            "account_id": split_owner(bearer.owner)[1],
            "reason": event.reason,
            "text": (private or {}).get("text"),
            "created_at": bearer.recorded_at,
        },
    }


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


def _requested_v3(
    bearer: Bearer, private: Private | None, *, charged: int, debit_id: str | None
) -> dict[str, Any]:
    """As before, with the quote, how the price came about, and what became of all assets."""
    event = bearer.event
    assert isinstance(event, CreditsDebited | CommandAccepted)
    reply = _requested_v1(bearer, private, charged=charged, debit_id=debit_id)
    line = event.price_line
    reply["generation"] |= {
        "quote_id": event.quote_id,
        "price_line": None if line is None else _line_v3(line),
        "results": [],
        "media_removed_at": None,
    }
    return reply


def _themed_v4(reply: dict[str, Any], theme: str | None) -> dict[str, Any]:
    """With the theme that it was ordered by."""
    reply["generation"]["theme"] = theme
    return reply


def _urgent_v5(reply: dict[str, Any], priority: JobPriority) -> dict[str, Any]:
    """With its priority; nobody has said anything of it yet, neither its provider nor a person."""
    reply["generation"] |= {"progress": None, "priority": priority, "flagged": None}
    return reply


def _line_v3(line: PriceLine) -> dict[str, Any]:
    return {
        "book": line.book,
        "book_digest": line.book_digest,
        "type": line.type,
        "quantity": line.quantity,
        "unit_price_millis": line.unit_price_millis,
        "options": line.options,
        "factors": [{"option": part.option, "permille": part.permille} for part in line.factors],
        "total": line.total,
    }
