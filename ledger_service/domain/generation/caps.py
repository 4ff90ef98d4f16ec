"""How many generations may be under way, or be begun in a day, where a tenant bounds that."""

from __future__ import annotations

from datetime import datetime

from contracts.problems import ProblemCode
from ledger_service.domain.account.limits import window_of
from ledger_service.domain.ids import split_owner
from ledger_service.domain.world import Need, Refusal, World


def refusal_by_caps(world: World, owner: str, now: datetime) -> Refusal | Need | None:
    """The refusal of one generation too many. The account's head is locked meanwhile, so that
    nobody else begins one of its; what others of the tenant begin, the append looks at."""
    policy, tenant = world.policy_of(owner), split_owner(owner)[0]
    return (
        _crowd_of_account(world, owner, policy.generations_in_flight_max)
        or _crowd_of_tenant(world, tenant, policy.tenant_generations_in_flight_max)
        or _busy_day(world, owner, policy.generations_per_day_max, now, per="account")
        or _busy_day(world, tenant, policy.tenant_generations_per_day_max, now, per="tenant")
    )


def _crowd_of_account(world: World, owner: str, limit: int | None) -> Refusal | Need | None:
    """They are counted where they are, beside their streams: the end of one need not touch its
    account."""
    if limit is None:
        return None
    in_flight = world.in_flight_of(owner)
    if in_flight is None:
        return Need(in_flight=frozenset((owner,)))
    return _refusal_of_crowd(limit, in_flight, per="account")


def _crowd_of_tenant(world: World, tenant: str, limit: int | None) -> Refusal | Need | None:
    """Counted no further than the bound: where it was lowered there may be many more."""
    if limit is None:
        return None
    in_flight = world.crowd_of(tenant, limit)
    if in_flight is None:
        return Need(crowds=frozenset(((tenant, world.full_at(tenant, limit)),)))
    return _refusal_of_crowd(limit, in_flight, per="tenant")


def _refusal_of_crowd(limit: int, in_flight: int, *, per: str) -> Refusal | None:
    if in_flight < limit:
        return None
    numbers = {"limit": limit, "in_flight": in_flight, "per": per}
    return Refusal(ProblemCode.LIMIT_REACHED, numbers)


def _busy_day(
    world: World, whose: str, limit: int | None, now: datetime, *, per: str
) -> Refusal | Need | None:
    """All that were begun count, whatever became of them."""
    if limit is None:
        return None
    day, resets_at = window_of("day", now)
    begun = world.begun_on(whose, day)
    if begun is None:
        return Need(begun=frozenset(((whose, day),)))
    if begun < limit:
        return None
    numbers = {"limit": limit, "begun": begun, "per": per, "resets_at": resets_at}
    return Refusal(ProblemCode.LIMIT_REACHED, numbers)
