"""Debits, and what debits, holds and generations have in common: finding the credits."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec.structs import replace

from contracts.problems import ProblemCode
from ledger_service.domain.account.burn import Shortage, Spend, plan_spend
from ledger_service.domain.account.limits import count_spend
from ledger_service.domain.account.plain import is_plain, sole_event
from ledger_service.domain.account.settle import need_of_lots, settle_first
from ledger_service.domain.account.standing import NO_SUCH_ACCOUNT, Movement, refusal_by_status
from ledger_service.domain.commands import DebitCredits, PlaceHold
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CreditsDebited, LimitUse
from ledger_service.domain.finishing import finish
from ledger_service.domain.ids import make_id
from ledger_service.domain.world import Need, Outcome, Refusal, World


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """What meets a spend, and the limits that it counts towards."""

    spend: Spend
    limits: tuple[LimitUse, ...]


def decide_debit(world: World, command: DebitCredits, now: datetime) -> Outcome:
    """Credits in burn order, or a refusal with the true numbers."""
    state = world.accounts[command.owner]
    spend = plain_spend(world, command, now)
    if state is None or spend is None:
        return debit_in_full(world, command, now)
    event = CreditsDebited(
        debit_id=make_id("dbt", now, command.owner, state.version + 1),
        amount=command.amount,
        slices=spend.slices,
        on_credit=spend.on_credit,
        reason=command.reason,
        tags=command.tags,
        reference=command.reference,
        is_adjustment=command.is_adjustment,
        private=command.private,
    )
    return sole_event(command, state, event, now, http_status=201)


def plain_spend(world: World, command: DebitCredits | PlaceHold, now: datetime) -> Spend | None:
    """What meets the spend, if the short way may be taken; None where the long one has more to
    say."""
    state = world.accounts[command.owner]
    if state is None or not is_plain(state, now):
        return None
    policy = world.policy_of(command.owner)
    if policy.limits or policy.promotional_first:
        return None
    spend = plan_spend(state, command.amount, frozenset(command.tags), now)
    return None if isinstance(spend, Shortage) else spend


def debit_in_full(world: World, command: DebitCredits, now: datetime) -> Outcome:
    """The long way, right for every account."""
    draft = Draft(world, command, now)
    wanted = CreditsDebited(
        debit_id="",
        amount=command.amount,
        slices=(),
        reason=command.reason,
        tags=command.tags,
        reference=command.reference,
        is_adjustment=command.is_adjustment,
        private=command.private,
    )
    obstacle = record_debit(draft, command.owner, wanted, command.spender)
    return obstacle or finish(draft, http_status=201)


def record_debit(
    draft: Draft, owner: str, wanted: CreditsDebited, spender: str | None
) -> Refusal | Need | None:
    """Record `wanted` with its id, slices and limits filled in; or say why not."""
    cover = cover_spend(
        draft, owner, wanted.amount, wanted.tags, spender, is_limited=not wanted.is_adjustment
    )
    if not isinstance(cover, Cover):
        return cover
    draft.record(
        owner,
        replace(
            wanted,
            debit_id=draft.next_id("dbt", owner),
            slices=cover.spend.slices,
            on_credit=cover.spend.on_credit,
            limits=cover.limits,
        ),
    )
    draft.answer_here()
    return None


def cover_spend(
    draft: Draft,
    owner: str,
    amount: int,
    tags: tuple[str, ...],
    spender: str | None,
    *,
    is_limited: bool = True,
) -> Cover | Refusal | Need:
    """Settle, then find what meets a spend; or say why nothing does. Limits come before credits."""
    state = draft.account(owner)
    if state is None:
        return NO_SUCH_ACCOUNT
    if obstacle := refusal_by_status(state, Movement.SPEND) or need_of_lots(state, draft.now):
        return obstacle
    state = settle_first(draft, owner)
    policy = draft.policy
    limits: tuple[LimitUse, ...] = ()
    if is_limited and (state.terms.limits or policy.limits):
        counted = count_spend(state, policy, spender, amount, draft.now)
        if isinstance(counted, Refusal):
            return counted
        limits = counted
    first = policy.promotional_first
    plan = plan_spend(state, amount, frozenset(tags), draft.now, promotional_first=first)
    if state.overflow.count and (first or isinstance(plan, Shortage) or plan.on_credit):
        return Need(all_lots=frozenset((owner,)))  # credit is taken when no lot is left
    if isinstance(plan, Shortage):
        return insufficient(amount, plan.available)
    return Cover(spend=plan, limits=limits)


def insufficient(required: int, available: int) -> Refusal:
    """The refusal for want of credits, with the true numbers."""
    numbers = {
        "available": available,
        "required": required,
        "shortfall": required - available,
    }
    return Refusal(ProblemCode.INSUFFICIENT_CREDITS, numbers)
