"""Where credits went, and what a business fact of the caller's has left behind."""

from __future__ import annotations

import enum
from datetime import datetime

from contracts.api.common import Reply
from contracts.api.grants import GrantKind


class GrantDebit(Reply, frozen=True, kw_only=True):
    """A debit that took `amount` of its credits from the grant; refunds do not change it."""

    debit_id: str
    amount: int
    at: datetime


class DerivedGrant(Reply, frozen=True, kw_only=True):
    """A grant that credits of this one live on in, maybe on another account."""

    account_id: str
    grant_id: str
    kind: GrantKind
    amount: int


class BearerType(enum.StrEnum):
    """What can bear a reference. A `schedule` is told each time it is set."""

    GRANT = "grant"
    DEBIT = "debit"
    HOLD = "hold"
    GENERATION = "generation"
    CLAWBACK = "clawback"
    SCHEDULE = "schedule"


class Bearer(Reply, frozen=True, kw_only=True):
    """A thing that bears a reference; a clawback has the id of its grant. `amount`: its credits."""

    account_id: str
    type: BearerType
    id: str
    position: int
    recorded_at: datetime
    amount: int
