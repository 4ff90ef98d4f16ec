"""Choices that a tenant may make. What they decided stands in the events, never here."""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`grace`: how long credits live on that come back to a lot that has expired meanwhile;
    zero lets them expire at once. `repay_debt`: a grant first repays overdraft debt."""

    grace: timedelta = timedelta(days=7)
    repay_debt: bool = True


DEFAULT_POLICY = Policy()
