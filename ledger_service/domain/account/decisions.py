"""Opening an account, granting to it, and booking what is due on it."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.limits import BALANCE_MAX_CREDITS
from contracts.problems import ProblemCode
from ledger_service.domain.account.lots import repayment
from ledger_service.domain.account.settle import need_of_lots, settle_first
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT, Movement, refusal_by_status
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import (
    BookExpiry,
    ChangeCreditLimit,
    GrantCredits,
    OpenAccount,
)
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import (
    AccountOpened,
    CreditLimitChanged,
    CreditsGranted,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import split_owner
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Outcome, Refusal, World


def decide_open(world: World, command: OpenAccount, now: datetime) -> Outcome:
    """An account opens once."""
    if world.accounts[command.owner] is not None:
        return Refusal(ProblemCode.ACCOUNT_EXISTS)
    draft = Draft(world, command, now)
    _open(draft, command.owner, command.unit, command.credit_limit, command.private)
    return finish(draft, http_status=201)


def decide_limit(world: World, command: ChangeCreditLimit, now: datetime) -> Outcome:
    """The limit may fall below what is already used: then nothing more can be spent on it."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if state.merged_into is not None:
        return refusal_by_status(state, Movement.SPEND) or NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    draft.record(command.owner, CreditLimitChanged(credit_limit=command.credit_limit))
    return finish(draft, shows=command.owner)


def decide_grant(world: World, command: GrantCredits, now: datetime) -> Outcome:
    """A new lot, less what it repays of debt."""
    state = world.accounts[command.owner]
    command = _with_expiry(command, world.policy_of(command.owner), now)
    if refusal := _refuse_grant(state, command, now):
        return refusal
    if state and (need := need_of_lots(state, now, adds_lot=True)):
        return need
    draft = Draft(world, command, now)
    if state is None:
        _open(draft, command.owner, "credit", 0, None)
    settle_first(draft, command.owner)
    settled = draft.account(command.owner)
    assert settled is not None
    repaid, repaid_owed = repayment(settled, command.amount, draft.policy)
    event = CreditsGranted(
        grant_id=draft.next_id("grt", command.owner),
        amount=command.amount,
        source=command.source,
        priority=command.priority,
        effective_at=command.effective_at or now,
        expires_at=command.expires_at,
        unit_cost_micros=command.unit_cost_micros,
        currency=command.currency,
        restrict_to=command.restrict_to,
        repaid=repaid,
        repaid_owed=repaid_owed,
        reference=command.reference,
        reason=command.reason,
        is_adjustment=command.is_adjustment,
        private=command.private,
    )
    draft.record(command.owner, event)
    draft.answer_here()
    return finish(draft, http_status=201)


def _with_expiry(command: GrantCredits, policy: Policy, now: datetime) -> GrantCredits:
    lasting = policy.expires_after.get(command.source) if command.is_expiry_open else None
    if lasting is None:
        return command
    try:
        return replace(command, expires_at=(command.effective_at or now) + lasting)
    except OverflowError:  # beyond the calendar is never
        return command


def _refuse_grant(
    state: AccountState | None, command: GrantCredits, now: datetime
) -> Refusal | None:
    starts = command.effective_at or now
    if command.expires_at is not None and command.expires_at <= max(now, starts):
        fault = {"pointer": "/expires_at", "detail": "must be after now and after effective_at"}
        return Refusal(ProblemCode.VALIDATION_FAILED, {"errors": [fault]})
    if state is None:
        return NO_SUCH_ACCOUNT if command.is_adjustment else None
    too_much = state.posted + command.amount > BALANCE_MAX_CREDITS
    if too_much and command.source != "purchase":  # a paid grant is never refused for a bound
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": BALANCE_MAX_CREDITS})
    return refusal_by_status(state, Movement.GRANT)


def decide_expiry(world: World, command: BookExpiry, now: datetime) -> Outcome:
    """Book what is due; nothing due is fine."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    return finish(draft)


def _open(draft: Draft, owner: str, unit: str, credit_limit: int, private: str | None) -> None:
    tenant, account_id = split_owner(owner)
    draft.record(
        owner,
        AccountOpened(
            tenant=tenant,
            account_id=account_id,
            unit=unit,
            credit_limit=credit_limit,
            private=private,
        ),
    )
