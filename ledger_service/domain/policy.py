"""Choices that a tenant may make. What they decided stands in the events, never here."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from ledger_service.domain.account.terms import SpendLimit


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a tenant's accounts decide where the law leaves a choice.

    - `grace`: how long credits live on that come back to a lot which has expired or was voided
      meanwhile; zero lets them end at once.
    - `repay_debt`: new credits first repay debt.
    - `expires_after`: by source, when a grant expires whose request leaves that open.
    - `promotional_first`: purchased credits are not spent while others would do, whatever their
      priority and expiry say.
    - `hold_ttl`: how long a hold lasts whose request leaves that open.
    - `limits`: spend limits of accounts that have none of their own.
    - `media_retention`: how long assets are kept; None: until they are deleted.
    - `generations_in_flight_max`, `tenant_generations_in_flight_max`: how many generations of one
      account, and of all of them together, may be under way at once.
    - `generations_per_day_max`, `tenant_generations_per_day_max`: how many each account, and all of
      them together, may begin in a day of UTC.
    """

    grace: timedelta = timedelta(days=7)
    repay_debt: bool = True
    expires_after: dict[str, timedelta] = msgspec.field(default_factory=dict)
    promotional_first: bool = False
    hold_ttl: timedelta = timedelta(minutes=15)
    limits: tuple[SpendLimit, ...] = ()
    media_retention: timedelta | None = None
    generations_in_flight_max: int | None = None
    tenant_generations_in_flight_max: int | None = None
    generations_per_day_max: int | None = None
    tenant_generations_per_day_max: int | None = None


DEFAULT_POLICY = Policy()


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's policy with its place in the tenant's policy stream."""

    version: int
    recorded_at: datetime
    policy: Policy
