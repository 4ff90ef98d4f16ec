"""The daily comparisons of ledger, provider and storage, as operators read them."""

from __future__ import annotations

from datetime import date, datetime

from contracts.api.common import Reply
from contracts.reconciling import Report


class Reconciliation(Reply, frozen=True, kw_only=True):
    """One day's comparison. Until there is a report: `trouble`, if the last try met some.
    A day that was reported with no `report` here: the process that answers is older than it."""

    day: date
    reported_at: datetime | None
    trouble: str | None
    report: Report | None


class ReconciliationsReply(Reply, frozen=True, kw_only=True):
    """Days, newest first; go on with `before` the last one's."""

    items: tuple[Reconciliation, ...]
