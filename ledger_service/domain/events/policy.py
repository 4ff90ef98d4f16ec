"""Events on a tenant's policy stream."""

from __future__ import annotations

import msgspec

from ledger_service.domain.policy import Policy


class PolicyEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of events about a tenant's policy."""


class PolicySet(PolicyEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The tenant decides like this from now on. What earlier policies decided stands."""

    policy: Policy
