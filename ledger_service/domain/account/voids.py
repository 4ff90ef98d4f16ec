"""Grants that end early or at another time, and debt forgiven."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from contracts.problems import ProblemCode
from ledger_service.domain.account.clawbacks import grant_at
from ledger_service.domain.account.grant_views import grant_after
from ledger_service.domain.account.settle import need_of_lots, settle, settle_first
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT
from ledger_service.domain.account.state import AccountState, Lot, find_lot
from ledger_service.domain.commands import ChangeGrantExpiry, VoidGrant, WriteOffDebt
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import Slice
from ledger_service.domain.events.clawbacks import (
    DebtWrittenOff,
    GrantExpiryChanged,
    GrantVoided,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.world import GrantFacts, Outcome, Refusal, World


def decide_void(world: World, command: VoidGrant, now: datetime) -> Outcome:
    """The free part ends now, and whatever comes back to the lot later ends as well."""
    found = grant_at(world, command.owner, command.grant_id, now)
    if not isinstance(found, GrantFacts):
        return found
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    event = GrantVoided(
        grant_id=command.grant_id,
        amount=_lot(draft, command).free,
        reason=command.reason,
        private=command.private,
    )
    draft.record(command.owner, event)
    draft.answer_here()

    def complete() -> dict[str, Any]:
        return {"grant": grant_after(_lot(draft, command), found)}

    return finish(draft, complete=complete)


def decide_grant_expiry(world: World, command: ChangeGrantExpiry, now: datetime) -> Outcome:
    """Only while the lot is not over: what has expired, or was voided, stays gone."""
    found = grant_at(world, command.owner, command.grant_id, now)
    if not isinstance(found, GrantFacts):
        return found
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    lot = _lot(draft, command)
    if lot.is_voided or lot.is_expired(now):
        return Refusal(ProblemCode.GRANT_ENDED, {"expires_at": lot.expires_at})
    if command.expires_at is not None and command.expires_at <= max(now, lot.effective_at):
        fault = {"pointer": "/expires_at", "detail": "must be after now and after effective_at"}
        return Refusal(ProblemCode.VALIDATION_FAILED, {"errors": [fault]})
    event = GrantExpiryChanged(
        grant_id=command.grant_id,
        expires_at=command.expires_at,
        reason=command.reason,
        private=command.private,
    )
    draft.record(command.owner, event)
    draft.answer_here()
    settle(draft, command.owner)  # what ends soon may have to be told at once

    def complete() -> dict[str, Any]:
        return {"grant": grant_after(_lot(draft, command), found)}

    return finish(draft, complete=complete)


def decide_write_off(world: World, command: WriteOffDebt, now: datetime) -> Outcome:
    """Overdraft first, then what clawbacks left open, the oldest lot first."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now, adds_lot=True):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    settled = draft.account(command.owner)
    assert settled is not None
    amount = min(settled.debt, settled.debt if command.amount is None else command.amount)
    if amount == 0:
        return Refusal(ProblemCode.NO_DEBT)
    event = DebtWrittenOff(
        amount=amount,
        owed=_forgiven(settled, amount),
        reason=command.reason,
        private=command.private,
    )
    draft.record(command.owner, event)
    draft.answer_here()
    return finish(draft, http_status=201)


def _forgiven(state: AccountState, amount: int) -> tuple[Slice, ...]:
    left, slices = amount - min(amount, state.overdraft), []
    for lot in sorted([lot for lot in state.lots if lot.owed], key=lambda lot: lot.grant_id):
        if part := min(left, lot.owed):
            slices.append(Slice(lot.grant_id, part))
            left -= part
    return tuple(slices)


def _lot(draft: Draft, command: VoidGrant | ChangeGrantExpiry) -> Lot:
    state = draft.account(command.owner)
    assert state is not None
    lot = find_lot(state.lots, command.grant_id)
    assert lot is not None, "it was loaded before"
    return lot
