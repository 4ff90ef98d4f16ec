"""Why a spend would be met as it would, or refused: the same rules that decide it, told."""

from __future__ import annotations

import enum
from datetime import datetime

import msgspec

from ledger_service.domain.account.balance import available, unbooked
from ledger_service.domain.account.burn import credit_left, in_burn_order
from ledger_service.domain.account.limits import LimitState, limits_for
from ledger_service.domain.account.standing import Movement, refusal_by_status
from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Refusal


class LotVerdict(enum.StrEnum):
    """What a lot does for a spend."""

    PAYS = "pays"
    NOT_NEEDED = "not_needed"
    EXPIRED = "expired"
    NOT_EFFECTIVE = "not_effective_yet"
    RESTRICTED = "restricted"
    HELD = "all_held"
    USED_UP = "used_up"


class ConsideredLot(msgspec.Struct, frozen=True, kw_only=True):
    """A lot, in the order in which spends take them, and the credits that it would give."""

    lot: Lot
    verdict: LotVerdict
    gives: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A spend of `amount` at an instant. `rule` names what decides: `enough`, `credit_limit`,
    `insufficient_credits`, `spend_limit_reached`, or what the account's status forbids."""

    amount: int
    rule: str
    lots: tuple[ConsideredLot, ...]
    on_credit: int
    spendable: int
    available: int
    held: int
    debt: int
    credit_left: int
    pending_expiry: int
    limits: tuple[LimitState, ...]

    @property
    def is_met(self) -> bool:
        """Whether the spend would be accepted."""
        return self.rule in {"enough", "credit_limit"}


def explain_spend(
    state: AccountState,
    policy: Policy,
    amount: int,
    tags: frozenset[str],
    spender: str | None,
    now: datetime,
) -> Explanation:
    """What a debit or hold of `amount` would do; all live lots must be loaded."""
    wanted, considered = amount, []
    for lot in in_burn_order(state, promotional_first=policy.promotional_first):
        verdict = _verdict(lot, tags, wanted, now)
        gives = min(lot.free, wanted) if verdict is LotVerdict.PAYS else 0
        wanted -= gives
        considered.append(ConsideredLot(lot=lot, verdict=verdict, gives=gives))
    usable = [lot for lot in state.lots if lot.is_spendable(now) and lot.fits(tags)]
    spendable = sum([lot.free for lot in usable]) + credit_left(state)
    limits = tuple(limits_for(state, policy, spender, now))
    return Explanation(
        amount=amount,
        rule=_rule(state, amount, spendable, wanted, limits),
        lots=tuple(considered),
        on_credit=min(wanted, max(0, credit_left(state))),
        spendable=spendable,
        available=available(state, now),
        held=state.held,
        debt=state.debt,
        credit_left=credit_left(state),
        pending_expiry=unbooked(state, now),
        limits=limits,
    )


def _verdict(lot: Lot, tags: frozenset[str], wanted: int, now: datetime) -> LotVerdict:
    if lot.is_expired(now):
        return LotVerdict.EXPIRED
    if lot.effective_at > now:
        return LotVerdict.NOT_EFFECTIVE
    if lot.free == 0:
        return LotVerdict.HELD if lot.held else LotVerdict.USED_UP
    if not lot.fits(tags):
        return LotVerdict.RESTRICTED
    return LotVerdict.PAYS if wanted else LotVerdict.NOT_NEEDED


def _rule(
    state: AccountState, amount: int, spendable: int, wanted: int, limits: tuple[LimitState, ...]
) -> str:
    """In the order in which the decision itself looks."""
    refusal = refusal_by_status(state, Movement.SPEND)
    if isinstance(refusal, Refusal):
        return refusal.code.value
    if any(limit.left < amount for limit in limits):
        return "spend_limit_reached"
    if spendable < amount:
        return "insufficient_credits"
    return "credit_limit" if wanted else "enough"
