"""Opening, granting, debiting and expiring on one account."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.limits import BALANCE_MAX_CREDITS
from contracts.problems import ProblemCode
from ledger_service.domain.account.balance import is_partial
from ledger_service.domain.account.burn import Shortage, plan_spend
from ledger_service.domain.account.settle import settle
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT, Movement, refusal_by_status
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import (
    BookExpiry,
    ChangeCreditLimit,
    DebitCredits,
    GrantCredits,
    OpenAccount,
)
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import (
    AccountOpened,
    CreditLimitChanged,
    CreditsDebited,
    CreditsGranted,
)
from ledger_service.domain.ids import split_owner
from ledger_service.domain.world import Need, Outcome, Refusal, World


def decide_open(world: World, command: OpenAccount, now: datetime) -> Outcome:
    """An account opens once."""
    if world.accounts[command.owner] is not None:
        return Refusal(ProblemCode.ACCOUNT_EXISTS)
    draft = Draft(world, command, now)
    _open(draft, command.owner, command.unit, command.credit_limit, command.private)
    return draft.finish(http_status=201)


def decide_limit(world: World, command: ChangeCreditLimit, now: datetime) -> Outcome:
    """The limit may fall below what is already used: then nothing more can be spent on it."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    draft.record(command.owner, CreditLimitChanged(credit_limit=command.credit_limit))
    return draft.finish(result=draft.account(command.owner))


def decide_grant(world: World, command: GrantCredits, now: datetime) -> Outcome:
    """A new lot, less what it repays of overdraft debt."""
    state = world.accounts[command.owner]
    if refusal := _refuse_grant(state, command, now):
        return refusal
    if state and (need := need_of_lots(state, now, creates_lot=True)):
        return need
    draft = Draft(world, command, now)
    if state is None:
        _open(draft, command.owner, "credit", 0, None)
    settle_first(draft, command.owner)
    overdraft = state.overdraft if state else 0
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
        repaid=min(overdraft, command.amount) if world.policy.repay_debt else 0,
        reference=command.reference,
        private=command.private,
    )
    draft.record(command.owner, event)
    return draft.finish(http_status=201)


def _refuse_grant(
    state: AccountState | None, command: GrantCredits, now: datetime
) -> Refusal | None:
    starts = command.effective_at or now
    if command.expires_at is not None and command.expires_at <= max(now, starts):
        fault = {"pointer": "/expires_at", "detail": "must be after now and after effective_at"}
        return Refusal(ProblemCode.VALIDATION_FAILED, {"errors": [fault]})
    if state is None:
        return None
    too_much = state.posted + command.amount > BALANCE_MAX_CREDITS
    if too_much and command.source != "purchase":  # a paid grant is never refused for a bound
        return Refusal(ProblemCode.LIMIT_REACHED, {"limit": BALANCE_MAX_CREDITS})
    return refusal_by_status(state, Movement.GRANT)


def decide_debit(world: World, command: DebitCredits, now: datetime) -> Outcome:
    """Credits in burn order, or a refusal with the true numbers."""
    draft = Draft(world, command, now)
    refused = record_debit(
        draft,
        command.owner,
        CreditsDebited(
            debit_id="",
            amount=command.amount,
            slices=(),
            reason=command.reason,
            tags=command.tags,
            reference=command.reference,
            private=command.private,
        ),
    )
    return refused or draft.finish(http_status=201)


def record_debit(draft: Draft, owner: str, wanted: CreditsDebited) -> Refusal | Need | None:
    """Record `wanted` with its id and slices filled in; or say why not."""
    state = draft.account(owner)
    if state is None:
        return NO_SUCH_ACCOUNT
    if refusal := refusal_by_status(state, Movement.SPEND):
        return refusal
    if need := need_of_lots(state, draft.now):
        return need
    plan = plan_spend(state, wanted.amount, frozenset(wanted.tags), draft.now)
    if state.overflow.count and (isinstance(plan, Shortage) or plan.on_credit):
        return Need(all_lots=frozenset((owner,)))  # credit is taken when no lot is left
    if isinstance(plan, Shortage):
        return _insufficient(wanted.amount, plan.available)
    settle_first(draft, owner)
    draft.record(
        owner,
        replace(
            wanted,
            debit_id=draft.next_id("dbt", owner),
            slices=plan.slices,
            on_credit=plan.on_credit,
        ),
    )
    return None


def _insufficient(required: int, available: int) -> Refusal:
    numbers = {
        "available": available,
        "required": required,
        "shortfall": required - available,
    }
    return Refusal(ProblemCode.INSUFFICIENT_CREDITS, numbers)


def decide_expiry(world: World, command: BookExpiry, now: datetime) -> Outcome:
    """Book what is due; nothing due is fine."""
    state = world.accounts[command.owner]
    if state is None:
        return NO_SUCH_ACCOUNT
    if need := need_of_lots(state, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    return draft.finish()


def settle_first(draft: Draft, owner: str) -> None:
    """Expiry that is due comes before what the command itself does."""
    state = draft.account(owner)
    assert state is not None
    if due := settle(state, draft.now):
        draft.record(owner, due)


def need_of_lots(state: AccountState, now: datetime, *, creates_lot: bool = False) -> Need | None:
    """Lots beyond the head matter when they changed, or when a new lot must find its place."""
    if is_partial(state, now) or (creates_lot and state.overflow.count):
        return Need(all_lots=frozenset((state.owner,)))
    return None


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
