"""Spend limits: what a spend counts towards, and whether it may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from contracts.problems import ProblemCode
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.account.terms import SpendLimit
from ledger_service.domain.events.account import LimitUse
from ledger_service.domain.policy import Policy
from ledger_service.domain.world import Refusal


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """A limit as it stands for one spender. `resets_at` is null for a lifetime limit."""

    limit: SpendLimit
    use: LimitUse
    used: int
    resets_at: datetime | None

    @property
    def left(self) -> int:
        """Credits that may still be spent under it."""
        return self.limit.amount - self.used


def limits_for(
    state: AccountState, policy: Policy, spender: str | None, now: datetime
) -> list[LimitState]:
    """The limits that a spend by `spender` counts towards: the account's, or else the policy's."""
    found = []
    for limit in state.terms.limits or policy.limits:
        is_of_keys = limit.per_key or limit.key_id is not None
        if is_of_keys and spender is None:
            continue
        if limit.key_id is not None and limit.key_id != spender:
            continue
        counter = f"{limit.limit_id}/{spender}" if is_of_keys else limit.limit_id
        window, resets_at = window_of(limit.window, now)
        used = sum(
            [c.used for c in state.terms.counters if (c.counter, c.window) == (counter, window)]
        )
        use = LimitUse(counter, window)
        found.append(LimitState(limit=limit, use=use, used=used, resets_at=resets_at))
    return found


def count_spend(
    state: AccountState, policy: Policy, spender: str | None, amount: int, now: datetime
) -> tuple[LimitUse, ...] | Refusal:
    """What the spend counts towards, or a refusal by the first limit that it would pass."""
    standing = limits_for(state, policy, spender, now)
    for found in standing:
        if found.left < amount:
            numbers = {
                "limit_id": found.limit.limit_id,
                "limit": found.limit.amount,
                "used": found.used,
                "required": amount,
                "resets_at": found.resets_at,
            }
            return Refusal(ProblemCode.SPEND_LIMIT_REACHED, numbers)
    return tuple([found.use for found in standing])


def window_of(kind: str, now: datetime) -> tuple[str, datetime | None]:
    """The window's name at `now`, and when it ends; null for a lifetime."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "day":
        return f"{today:%Y-%m-%d}", today + timedelta(days=1)
    if kind == "month":
        next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        return f"{today:%Y-%m}", next_month
    return "", None
