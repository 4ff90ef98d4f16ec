"""The border between ledger and worker: doorbell, claims, reports and outcome events.

A worker is rung (or pulls), claims one short step of one generation, does it and reports.
The ledger alone decides what a report means for credits.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from contracts.api.batches import BatchResult
from contracts.limits import (
    ASSET_MAX_BYTES,
    ASSETS_MAX,
    CLAIMS_PER_REQUEST_MAX,
    ID_MAX_CHARACTERS,
    LOG_LINE_MAX_CHARACTERS,
    LOG_LINES_MAX,
    REPORTS_PER_REQUEST_MAX,
)

DOORBELL_QUEUE: Final = "generations"
DOORBELL_ACTOR: Final = "advance"
"""The doorbell is a message to this actor with one argument: the generation's id."""

PROVIDER_PAUSED: Final = "provider_paused"
"""The reason of a submit that was held back because the provider takes none for now. Such an
attempt never left the worker, and does not count towards the limit of attempts."""
PROVIDER_ACCOUNT_LOCKED: Final = "provider_account_locked"
PROVIDER_KEY_REFUSED: Final = "provider_key_refused"
"""The reasons of submits that the provider refused whoever asks: a person has to mend it."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_MAX_CHARACTERS)]
Message = Annotated[str, msgspec.Meta(max_length=2000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Step(enum.StrEnum):
    """What a claim permits: exactly one of these, once."""

    SUBMIT = "submit"
    POLL = "poll"
    FETCH = "fetch"


class JobPriority(enum.StrEnum):
    """How urgent an order is: what is `low` is begun once nothing else waits to be."""

    NORMAL = "normal"
    LOW = "low"


class ProviderUrls(msgspec.Struct, frozen=True, kw_only=True):
    """The three URLs of the provider's submit answer; they are stored, never built."""

    status: Text
    response: Text
    cancel: Text


class ClaimedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt a claim is about; `request_id` is null while the provider's answer is unknown.

    `urls` may be null with a known `request_id` when only a webhook or a listing told us of it.
    """

    attempt_id: str
    number: int
    started_at: datetime
    request_id: str | None
    urls: ProviderUrls | None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Permission for one step, valid until `lease_until`; a submit only until `post_before`.

    `endpoint` is the provider's application path, `output` the kind of asset to look for.
    `cancel_requested` asks the worker to cancel at the provider before it polls.
    `asset_key` is the storage key (without extension) under which a fetch stores the asset.
    `fetches` says how often in a row a completed job's result could not be had.
    """

    generation_id: str
    fence: str
    lease_until: datetime
    step: Step
    attempt: ClaimedAttempt
    model: str
    provider: str
    endpoint: str
    output: str
    input: dict[str, Any]
    asset_key: str
    cancel_requested: bool = False
    fetches: int = 0
    post_before: datetime | None = None
    webhook_url: str | None = None
    priority: JobPriority = JobPriority.NORMAL


class ClaimsRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Ask for work: up to `max` claims of generations that are due now, or of those that are named
    and due. A request for one generation needs neither."""

    worker: ShortText
    max: Annotated[int, msgspec.Meta(ge=1, le=CLAIMS_PER_REQUEST_MAX)] = 1
    generations: Annotated[
        tuple[ShortText, ...], msgspec.Meta(max_length=CLAIMS_PER_REQUEST_MAX)
    ] = ()


class ClaimsReply(msgspec.Struct, frozen=True, kw_only=True):
    """The claims granted; empty when nothing is due."""

    claims: tuple[Claim, ...]


class WorkModel(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a model, and under which endpoint (the provider's application path)."""

    model: str
    provider: str
    endpoint: str


class WorkModelsReply(msgspec.Struct, frozen=True, kw_only=True):
    """All models of the catalogue, also those that are not on offer."""

    items: tuple[WorkModel, ...]


class Thumbnail(msgspec.Struct, frozen=True, kw_only=True):
    """A small still of an asset, stored beside it; sizes in pixels."""

    key: Text
    content_type: ShortText
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=ASSET_MAX_BYTES)]
    width: Count
    height: Count


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A verified copy of the provider's asset in our storage."""

    key: Text
    content_type: ShortText
    size_bytes: Annotated[int, msgspec.Meta(ge=1, le=ASSET_MAX_BYTES)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    duration_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    width: Count | None = None
    height: Count | None = None
    # Unset rather than null: what was stored before there were any reads and writes as it was.
    thumbnail: Thumbnail | msgspec.UnsetType = msgspec.UNSET

    @property
    def keys(self) -> tuple[str, ...]:
        """Of every file that is kept of it."""
        return (self.key,) if self.thumbnail is msgspec.UNSET else (self.key, self.thumbnail.key)


class _Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of the report events; unknown fields are refused by the request that holds them."""


class SubmittedReport(
    _Report, frozen=True, kw_only=True, tag="submitted", forbid_unknown_fields=True
):
    """The provider accepted the submit; also the answer of a listing or a webhook."""

    request_id: ShortText
    urls: ProviderUrls | None = None


class SubmissionUnknownReport(
    _Report, frozen=True, kw_only=True, tag="submission_unknown", forbid_unknown_fields=True
):
    """The submit left this process and no answer came: it may or may not exist."""

    reason: ShortText


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said while it worked, in its own words: text, and never markup.

    `at` is the provider's instant, `level` its word for how serious it is; either may be unknown.
    """

    message: Annotated[str, msgspec.Meta(min_length=1, max_length=LOG_LINE_MAX_CHARACTERS)]
    level: Annotated[str, msgspec.Meta(max_length=16)] | None = None
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class RunningReport(
    _Report,
    frozen=True,
    kw_only=True,
    tag="running",
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """The provider works on it; `completed` says that the result can be fetched now. `logs` are
    the newest lines of its log, the newest last.

    Also the harmless answer of a step that could not find out (`error` says why): the ledger
    only sets the next time to look.
    """

    provider_status: ShortText
    completed: bool = False
    queue_position: Count | None = None
    logs: Annotated[tuple[LogLine, ...], msgspec.Meta(max_length=LOG_LINES_MAX)] = ()
    error: Message | None = None


class SucceededReport(
    _Report, frozen=True, kw_only=True, tag="succeeded", forbid_unknown_fields=True
):
    """The assets are verified and stored: the first one, and what else was made."""

    asset: Asset
    more: Annotated[tuple[Asset, ...], msgspec.Meta(max_length=ASSETS_MAX - 1)] = ()
    billable_units: ShortText | None = None


class FailedReport(_Report, frozen=True, kw_only=True, tag="failed", forbid_unknown_fields=True):
    """The attempt is over without an asset.

    `sent` false: the provider certainly never accepted it, so a further attempt is harmless and
    follows when `retryable`. `sent` true: the failure is the provider's verdict and final;
    `retryable` then only tells the caller whether asking again may help.
    """

    reason: ShortText
    message: Message = ""
    retryable: bool = False
    sent: bool = True
    retry_after_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    billable_units: ShortText | None = None


class CancelledReport(
    _Report, frozen=True, kw_only=True, tag="cancelled", forbid_unknown_fields=True
):
    """The provider ended the attempt because we asked it to."""

    billable_units: ShortText | None = None


class RenewReport(_Report, frozen=True, kw_only=True, tag="renew", forbid_unknown_fields=True):
    """Still at it: extend the lease."""


ReportEvent = (
    SubmittedReport
    | SubmissionUnknownReport
    | RunningReport
    | SucceededReport
    | FailedReport
    | CancelledReport
    | RenewReport
)


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to the claimed step."""

    fence: ShortText
    attempt_id: ShortText
    event: ReportEvent


_STEP_REPORT_SCHEMA: Final = {
    "title": "StepReport",
    "description": "The body of a single report, and `generation_id`.",
    "type": "object",
    "required": ["generation_id", "fence", "attempt_id", "event"],
    "properties": {"generation_id": {"type": "string"}},
}


class StepReport(ReportRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A report, and whose it is."""

    generation_id: ShortText


class ReportsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many reports at once; each is judged by itself, so a malformed one spoils no other."""

    reports: Annotated[
        tuple[Annotated[Any, msgspec.Meta(extra_json_schema=_STEP_REPORT_SCHEMA)], ...],
        msgspec.Meta(min_length=1, max_length=REPORTS_PER_REQUEST_MAX),
    ]


class ReportsReply(msgspec.Struct, frozen=True, kw_only=True):
    """One result for each report, in their order: what the single report would be answered."""

    results: tuple[BatchResult, ...]


class ReportReply(msgspec.Struct, frozen=True, kw_only=True):
    """`accepted` is false when the report changed nothing; `next_claim` goes straight on.

    The answer of a `renew` has the claim with its new `lease_until`.
    """

    accepted: bool
    next_claim: Claim | None = None
