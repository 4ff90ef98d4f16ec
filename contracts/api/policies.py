"""A tenant's policy: its choices where the law of credits leaves one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from contracts import limits
from contracts.api.common import Reply, Request, Source
from contracts.api.terms import PolicyLimit, SpendLimits


class PolicyRequest(Request, frozen=True, kw_only=True):
    """How the tenant decides from now on; what is left out has its default.

    `grace_seconds`: how long credits live on that come back to a grant that is over (0: they end
    at once). `repay_debt`: new credits first repay debt. `expires_after_seconds`: by source, when
    a grant expires that does not say so. `promotional_first`: purchased credits are spent last.
    `hold_ttl_seconds`: how long a hold lasts that does not say so. `limits`: spend limits of
    accounts that have none of their own. `media_retention_seconds`: how long the results of
    generations are kept (null: until they are deleted). `generations_in_flight_max`: how many
    generations of one account may be under way at once (null: any number);
    `tenant_generations_in_flight_max`: how many of all accounts together.
    `generations_per_day_max`: how many each account may begin in a day of UTC, whatever becomes of
    them; `tenant_generations_per_day_max`: how many all of them may together, counted from when it
    is set.
    """

    grace_seconds: Annotated[int, msgspec.Meta(ge=0, le=limits.GRACE_MAX_SECONDS)] = (
        limits.GRACE_DEFAULT_SECONDS
    )
    repay_debt: bool = True
    expires_after_seconds: dict[
        Source, Annotated[int, msgspec.Meta(ge=1, le=limits.EXPIRES_AFTER_MAX_SECONDS)]
    ] = msgspec.field(default_factory=dict)
    promotional_first: bool = False
    hold_ttl_seconds: Annotated[int, msgspec.Meta(ge=1, le=limits.HOLD_TTL_MAX_SECONDS)] = (
        limits.HOLD_TTL_DEFAULT_SECONDS
    )
    limits: SpendLimits = ()
    media_retention_seconds: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.MEDIA_RETENTION_MAX_SECONDS)] | None
    ) = None
    generations_in_flight_max: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.GENERATIONS_IN_FLIGHT_MAX)] | None
    ) = None
    tenant_generations_in_flight_max: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.TENANT_GENERATIONS_IN_FLIGHT_MAX)] | None
    ) = None
    generations_per_day_max: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.GENERATIONS_PER_DAY_MAX)] | None
    ) = None
    tenant_generations_per_day_max: (
        Annotated[int, msgspec.Meta(ge=1, le=limits.TENANT_GENERATIONS_PER_DAY_MAX)] | None
    ) = None


class Policy(Reply, frozen=True, kw_only=True):
    """The tenant's policy. `version` counts its changes: 0 while all of it is as shipped."""

    version: int | None
    changed_at: datetime | None
    grace_seconds: int
    repay_debt: bool
    expires_after_seconds: dict[str, int]
    promotional_first: bool
    hold_ttl_seconds: int
    limits: tuple[PolicyLimit, ...]
    media_retention_seconds: int | None
    generations_in_flight_max: int | None
    tenant_generations_in_flight_max: int | None
    generations_per_day_max: int | None
    tenant_generations_per_day_max: int | None


class PolicySetReply(Reply, frozen=True, kw_only=True):
    """The outcome of setting it."""

    position: int | None
    recorded_at: datetime
    policy: Policy
