"""Why a spend would be met as it would, or refused."""

from __future__ import annotations

import enum
from datetime import datetime

from contracts.api.common import Reply, Source
from contracts.api.terms import LimitWindow


class LotVerdict(enum.StrEnum):
    """What a grant's credits do for a spend."""

    PAYS = "pays"
    NOT_NEEDED = "not_needed"
    EXPIRED = "expired"
    NOT_EFFECTIVE_YET = "not_effective_yet"
    RESTRICTED = "restricted"
    ALL_HELD = "all_held"
    USED_UP = "used_up"


class ConsideredLot(Reply, frozen=True, kw_only=True):
    """A grant, in the order in which spends take them: what it would give, and why no more."""

    grant_id: str
    verdict: LotVerdict
    gives: int
    free: int
    held: int
    source: Source
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    unit_cost_micros: int | None
    restrict_to: tuple[str, ...]


class ConsideredLimit(Reply, frozen=True, kw_only=True):
    """A spend limit that the spend would count towards, for the key that asks."""

    limit_id: str
    amount: int
    window: LimitWindow
    used: int
    left: int
    resets_at: datetime | None


class Explanation(Reply, frozen=True, kw_only=True):
    """What a spend of `amount` would do now.

    `rule` decides: `enough` or `credit_limit` when it `would_succeed`, else the problem code.
    `spendable` is what such a spend could take at most (with its tags, the credit limit
    included), `on_credit` what this one would take of the limit, `credit_left` what is left of it.
    `lots_left_out` counts further grants that are not shown.
    """

    amount: int
    would_succeed: bool
    rule: str
    spendable: int
    available: int
    held: int
    debt: int
    pending_expiry: int
    on_credit: int
    credit_left: int
    lots: tuple[ConsideredLot, ...]
    lots_left_out: int
    limits: tuple[ConsideredLimit, ...]
