"""Grants as answers show them."""

from __future__ import annotations

from ledger_service.domain.account.state import Lot
from ledger_service.domain.events.account import CreditsGranted
from ledger_service.domain.events.clawbacks import GrantAfter
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
    )
