"""Grants as answers show them."""

from __future__ import annotations

from sys import intern

from ledger_service.domain.account.state import Lot
from ledger_service.domain.events.account import CreditsGranted
from ledger_service.domain.events.clawbacks import ClawbackAfter, GrantAfter
from ledger_service.domain.world import GrantFacts


def grant_after(lot: Lot, facts: GrantFacts) -> GrantAfter:
    """A lot as it is, with what only the event that made it knows."""
    made_by = facts.event
    granted = made_by if isinstance(made_by, CreditsGranted) else None
    return GrantAfter(
        grant_id=lot.grant_id,
        amount=lot.amount,
        remaining=lot.remaining,
        held=lot.held,
        spent=lot.spent,
        source=lot.source,
        priority=lot.priority,
        effective_at=lot.effective_at,
        expires_at=lot.expires_at,
        unit_cost_micros=lot.unit_cost_micros,
        currency=granted.currency if granted else None,
        restrict_to=lot.restrict_to,
        reference=granted.reference if granted else None,
        private=granted.private if granted else None,
        created_at=facts.created_at,
        kind=intern(lot.kind),  # defaults are left out when they are the same object
        origin=lot.origin,
        from_account=lot.from_account,
        is_voided=lot.is_voided,
        clawback=clawback_after(lot),
    )


def clawback_after(lot: Lot) -> ClawbackAfter | None:
    """How the target of a lot is met; None while nobody has claimed anything of it."""
    parts = lot.clawback
    if parts is None:
        return None
    return ClawbackAfter(
        target=lot.target,
        taken=lot.clawed_back,
        absorbed=parts.absorbed,
        owed=parts.owed,
        repaid=parts.repaid,
        forwarded=parts.forwarded,
    )
