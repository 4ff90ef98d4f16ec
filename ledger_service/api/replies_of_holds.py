"""First answers to commands on holds and on grants that exist, rendered from the event that bears
the key. See answers.py for what may never change here.
"""

from __future__ import annotations

from typing import Any

from ledger_service.api.answers import Bearer, lots_v1, outcome_v1, renders
from ledger_service.api.shapes import Private, metadata_of, reason_of
from ledger_service.domain.events.clawbacks import (
    ClawbackAfter,
    GrantAfter,
    GrantClawedBack,
    GrantExpiryChanged,
    GrantVoided,
)
from ledger_service.domain.events.holds import (
    HoldAfter,
    HoldCaptured,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    HoldsReleased,
)
from ledger_service.domain.ids import split_owner


@renders(2, HoldPlaced)
@renders(2, HoldReleased)
@renders(2, HoldExtended)
def _hold_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, HoldPlaced | HoldReleased | HoldExtended)
    return outcome_v1(bearer) | {"hold": _held_v2(event.hold, private)}


@renders(2, HoldCaptured)
def _captured_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, HoldCaptured)
    debit = {
        "debit_id": event.debit_id,
        "amount": event.amount,
        "refunded": 0,
        "reason": reason_of(event.hold.reason, private),
        "reference": event.hold.reference,
        "lots": lots_v1(event.slices),
        "metadata": metadata_of(private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"hold": _held_v2(event.hold, private), "debit": debit}


@renders(2, HoldsReleased)
def _released_v2(bearer: Bearer, _: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, HoldsReleased)
    holds = [{"hold_id": part.grant_id, "amount": part.amount} for part in event.holds]
    return outcome_v1(bearer) | {"holds": holds, "has_more": event.has_more}


@renders(2, GrantClawedBack)
@renders(2, GrantVoided)
@renders(2, GrantExpiryChanged)
def _ended_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, GrantClawedBack | GrantVoided | GrantExpiryChanged)
    assert event.grant is not None, "an event that bears a key tells of its grant"
    return outcome_v1(bearer) | {"grant": _grant_v2(bearer, event.grant, private)}


def _held_v2(hold: HoldAfter, private: Private | None) -> dict[str, Any]:
    return {
        "hold_id": hold.hold_id,
        "amount": hold.amount,
        "captured": hold.captured,
        "released": hold.released,
        "status": hold.status,
        "expires_at": hold.expires_at,
        "reason": reason_of(hold.reason, private),
        "reference": hold.reference,
        "metadata": metadata_of(private),
        "created_at": hold.created_at,
    }


def _grant_v2(bearer: Bearer, grant: GrantAfter, private: Private | None) -> dict[str, Any]:
    home = grant.from_account or split_owner(bearer.owner)[1]
    return {
        "grant_id": grant.grant_id,
        "amount": grant.amount,
        "remaining": grant.remaining,
        "held": grant.held,
        "spent": grant.spent,
        "source": grant.source,
        "priority": grant.priority,
        "effective_at": grant.effective_at,
        "expires_at": grant.expires_at,
        "unit_cost_micros": grant.unit_cost_micros,
        "currency": grant.currency,
        "restrict_to": grant.restrict_to,
        "reference": grant.reference,
        "metadata": metadata_of(private),
        "created_at": grant.created_at,
        "kind": grant.kind,
        "origin": {"account_id": home, "grant_id": grant.origin} if grant.origin else None,
        "voided": grant.is_voided,
        "clawback": _clawback_v2(grant.clawback) if grant.clawback else None,
    }


def _clawback_v2(parts: ClawbackAfter) -> dict[str, Any]:
    return {
        "target": parts.target,
        "taken": parts.taken,
        "absorbed": parts.absorbed,
        "owed": parts.owed,
        "repaid": parts.repaid,
        "forwarded": parts.forwarded,
    }
