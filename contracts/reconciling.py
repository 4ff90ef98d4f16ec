"""The comparison of ledger, provider and storage: what it finds, and how a worker's process takes
a day of it and reports."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Annotated, Any, Final

import msgspec

from contracts.jobs import Count, ShortText

EXAMPLES_MAX: Final = 20
"""Examples of each kind of drift that a stored report may have."""
TROUBLE_MAX_CHARACTERS: Final = 200

Fence = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Example = dict[str, Any]


class Drift(enum.StrEnum):
    """What may be wrong."""

    UNKNOWN_REQUEST = "unknown_request"
    ABANDONED_REQUEST = "abandoned_request"
    REFUNDED_REQUEST = "refunded_request"
    LATE_SUCCESS = "late_success"
    REPEATED_SUBMIT = "repeated_submit"
    UNLISTED_ATTEMPT = "unlisted_attempt"
    MISSING_FILE = "missing_file"
    WRONG_SIZE = "wrong_size"
    FOREIGN_FILE = "foreign_file"
    UNREMOVED_FILE = "unremoved_file"
    KEPT_PAYLOADS = "kept_payloads"


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of drift: how often, and the first few."""

    drift: Drift
    count: Count
    examples: Annotated[tuple[Example, ...], msgspec.Meta(max_length=EXAMPLES_MAX)]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole comparison, of what happened from `since` on and before `until`.

    `unmarked` requests bear nothing that says whose they are: another application's under the same
    key, or ours to an endpoint that takes no mark. `unconfirmed` attempts are missing from a
    listing that is not known to be complete. Neither is drift.
    """

    since: Instant
    until: Instant
    generations: Count
    attempts: Count
    requests: Count
    files: Count
    unmarked: Count
    unconfirmed: Count
    findings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=len(Drift))]

    @property
    def drifts(self) -> bool:
        """Something has to be looked at."""
        return bool(self.findings)


class ReconciliationClaimRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Ask for a day that nobody has compared yet."""

    worker: ShortText


class ReconciliationClaim(msgspec.Struct, frozen=True, kw_only=True):
    """A day (in UTC, from `since` on and before `until`), for this process until its lease ends."""

    day: date
    fence: int
    since: datetime
    until: datetime
    lease_seconds: float


class ReconciliationClaimReply(msgspec.Struct, frozen=True, kw_only=True):
    """Null while there is nothing to do."""

    claim: ReconciliationClaim | None


class ReconciliationReportRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What came of a day: its report, or the trouble that there was none for. With neither: still
    at it, the lease begins anew."""

    day: date
    fence: Fence
    report: Report | None = None
    trouble: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=TROUBLE_MAX_CHARACTERS)] | None
    ) = None


class ReconciliationReportReply(msgspec.Struct, frozen=True, kw_only=True):
    """Until when the day stays with this process; null when it is done with it."""

    lease_seconds: float | None
