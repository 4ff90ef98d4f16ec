"""Reports: what a worker says happened, and what the ledger makes of it.

The fence guards ending the job. Facts about an attempt are accepted from anyone who knows its
id, once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from contracts.api.generations import GenerationStatus
from contracts.jobs import (
    PROVIDER_ACCOUNT_LOCKED,
    PROVIDER_KEY_REFUSED,
    PROVIDER_PAUSED,
    CancelledReport,
    FailedReport,
    RenewReport,
    RunningReport,
    Step,
    SubmissionUnknownReport,
    SubmittedReport,
    SucceededReport,
)
from contracts.limits import DUE_MAX_SECONDS, DUE_MIN_SECONDS
from contracts.problems import ProblemCode
from ledger_service.domain.commands import ReportGeneration
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.generation import (
    AttemptAbandoned,
    GenerationCancelled,
    GenerationEnded,
    GenerationEvent,
    GenerationExpired,
    GenerationFailed,
    GenerationStarted,
    GenerationSubmitted,
    GenerationSucceeded,
    LateFactRecorded,
    SubmissionLost,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.claims import LEASE, grant_claim
from ledger_service.domain.generation.delivery import undelivered
from ledger_service.domain.generation.endings import end_generation, finished, give_back
from ledger_service.domain.generation.state import (
    Attempt,
    AttemptPhase,
    Claimed,
    GenerationState,
    Job,
    Reported,
)
from ledger_service.domain.world import Need, Outcome, Refusal, World

PROVIDER_DOWN: Final = "provider_down"
PROVIDER_DOWN_REASONS: Final = frozenset(
    (PROVIDER_PAUSED, PROVIDER_ACCOUNT_LOCKED, PROVIDER_KEY_REFUSED)
)
"""Of submits that failed for no reason of their own: all others would fail as well."""
STALE: Final = Refusal(ProblemCode.STALE_FENCE)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A report with everything it is about."""

    world: World
    draft: Draft
    command: ReportGeneration
    state: GenerationState
    job: Job
    attempt: Attempt

    @property
    def is_current(self) -> bool:
        """The reporter holds the newest claim, on the attempt that is live."""
        live = self.state.live_attempt
        return (
            self.command.fence == self.job.fence_text
            and live is not None
            and live.attempt_id == self.attempt.attempt_id
        )

    def record(self, event: GenerationEvent) -> GenerationState:
        """Append to the generation's stream."""
        return self.draft.record_generation(self.command.stream, self.state.owner, event)

    def reschedule(self, state: GenerationState, wait: timedelta, **changes: Any) -> None:
        """The worker is done for now: look again after `wait`, or at once after a hint."""
        job = replace(
            self.job,
            status=state.status,
            due_at=self.draft.now + (timedelta() if self.job.is_hinted else wait),
            is_hinted=False,
            lease_until=None,
            unreported=0,
            **changes,
        )
        self.draft.keep_job(job)

    def go_on(self, state: GenerationState, **changes: Any) -> Claimed:
        """The same worker may take the next step at once."""
        job = replace(self.job, unreported=0, **changes)
        return grant_claim(self.draft, state, job, self.command.worker)

    def keep_fact(self, state: GenerationState) -> Outcome:
        """A report without the newest claim leaves the claim alone; it counts if it was news."""
        is_news = state is not self.state
        if is_news:
            self.draft.keep_job(replace(self.job, status=state.status))
        return self.done(accepted=is_news)

    def void_claim(self, state: GenerationState) -> Outcome:
        """Whoever is at it looks at a request that is not ours: what they find says nothing."""
        job = replace(
            self.job,
            status=state.status,
            fence=self.job.fence + 1,
            due_at=self.draft.now,
            lease_until=None,
            to_fetch=False,
            fetches=0,
            is_hinted=False,
        )
        self.draft.keep_job(job)
        return self.done()

    def done(self, *, accepted: bool = True, claimed: Claimed | None = None) -> Outcome:
        """The report's outcome."""
        return finish(self.draft, result=Reported(accepted=accepted, claimed=claimed))


def decide_report(world: World, command: ReportGeneration, now: datetime) -> Outcome:
    """Repeats, late and foreign reports change nothing."""
    state = world.generations[command.stream]
    if state is None:
        return Refusal(ProblemCode.GENERATION_NOT_FOUND)
    attempt = state.attempt(command.attempt_id)
    if attempt is None:
        return STALE
    context = Context(
        world=world,
        draft=Draft(world, command, now),
        command=command,
        state=state,
        job=world.jobs[command.generation_id],
        attempt=attempt,
    )
    if state.status.is_final or attempt.phase is AttemptPhase.ABANDONED:
        return _late_fact(context)
    return _REPORTS[type(command.event)](context, command.event)


def wait_for(attempt: Attempt, now: datetime) -> timedelta:
    """A quarter of the attempt's age, within bounds."""
    quarter = (now - attempt.started_at).total_seconds() / 4
    return timedelta(seconds=min(max(quarter, DUE_MIN_SECONDS), DUE_MAX_SECONDS))


def _submitted(context: Context, report: SubmittedReport) -> Outcome:
    """The submit's own answer alone knows the URLs, and it is the provider's word to us: until it
    comes, a request may be known from elsewhere, and then it is corrected."""
    state, attempt = context.state, context.attempt
    is_first_answer = attempt.urls is None and report.urls is not None
    is_other_request = attempt.request_id not in (None, report.request_id)
    if is_other_request and not is_first_answer:
        return context.done(accepted=False)
    if attempt.request_id is None or is_first_answer:
        state = context.record(
            GenerationSubmitted(
                attempt_id=attempt.attempt_id,
                request_id=report.request_id,
                urls=report.urls,
            )
        )
    if context.is_current:
        return context.done(claimed=context.go_on(state))
    if is_other_request:
        return context.void_claim(state)
    return context.keep_fact(state)


def _submission_unknown(context: Context, report: SubmissionUnknownReport) -> Outcome:
    state = context.state
    if context.attempt.phase is AttemptPhase.SUBMITTING:
        state = context.record(
            SubmissionLost(attempt_id=context.attempt.attempt_id, reason=report.reason)
        )
    if context.is_current:
        context.reschedule(state, timedelta(seconds=DUE_MIN_SECONDS))
        return context.done()
    return context.keep_fact(state)


def _running(context: Context, report: RunningReport) -> Outcome:
    if not context.is_current:
        return STALE
    state = context.state
    if state.status is GenerationStatus.SUBMITTED and report.error is None:
        state = context.record(GenerationStarted(attempt_id=context.attempt.attempt_id))
    if report.completed and report.error is None:
        return context.done(claimed=context.go_on(state, to_fetch=True))
    wait = wait_for(context.attempt, context.draft.now)
    fetches = context.job.fetches + 1 if report.completed else 0
    context.reschedule(state, wait, to_fetch=report.completed, fetches=fetches)
    return context.done()


def _succeeded(context: Context, report: SucceededReport) -> Outcome:
    if not context.is_current:
        return STALE
    back = undelivered(context.state, report)
    refund = give_back(context.world, context.draft, context.state, most=back)
    if isinstance(refund, Need):
        return refund
    retention = context.draft.policy.media_retention
    state = context.record(
        GenerationSucceeded(
            attempt_id=context.attempt.attempt_id,
            asset=report.asset,
            more=report.more,
            refund_id=refund.refund_id if refund else None,
            refunded=refund.amount if refund else 0,
            billable_units=report.billable_units,
            media_until=context.draft.now + retention if retention else None,
        )
    )
    context.draft.keep_job(finished(context.job, state))
    return context.done()


def _failed(context: Context, report: FailedReport) -> Outcome:
    if not context.is_current:
        return STALE
    if not report.sent:
        return _not_sent(context, report)
    return _end(
        context,
        GenerationFailed(
            reason=report.reason,
            retryable=report.retryable,
            private=context.command.private,
            attempt_id=context.attempt.attempt_id,
            billable_units=report.billable_units,
        ),
    )


def _not_sent(context: Context, report: FailedReport) -> Outcome:
    """The provider never took it: another attempt is harmless, if it makes sense at all."""
    if context.attempt.request_id is not None:
        # It did take it, a webhook said so meanwhile: look there, never send a second one.
        context.reschedule(context.state, timedelta(seconds=DUE_MIN_SECONDS))
        return context.done(accepted=False)
    state = context.record(
        AttemptAbandoned(attempt_id=context.attempt.attempt_id, reason=report.reason)
    )
    if state.cancel_requested_at is not None:
        return _end(context, GenerationCancelled(reason="cancelled", retryable=True))
    if not report.retryable or state.grace_until is not None:
        ending = GenerationFailed(
            reason=report.reason, retryable=report.retryable, private=context.command.private
        )
        return _end(context, ending)
    patience = _patience_left(context, report)
    if patience is not None and patience <= timedelta():
        return _end(context, GenerationFailed(reason=PROVIDER_DOWN, retryable=True))
    # A pause says itself how long it lasts; what comes after it need not wait for its sake.
    backoff = DUE_MIN_SECONDS * 2 ** min(max(state.tries - 1, 0), 5)
    wait = timedelta(seconds=max(report.retry_after_seconds or 0, min(backoff, DUE_MAX_SECONDS)))
    context.reschedule(state, min(wait, patience or wait), to_fetch=False, fetches=0)
    return context.done()


def _patience_left(context: Context, report: FailedReport) -> timedelta | None:
    """How long to wait yet for a provider that takes nothing, whoever asks; None: without end.
    What came before the first attempt, a low priority or busy workers, is not the provider's."""
    patience = context.command.patience
    if patience is None or report.reason not in PROVIDER_DOWN_REASONS:
        return None
    return context.state.attempts[0].started_at + patience - context.draft.now


def _cancelled(context: Context, report: CancelledReport) -> Outcome:
    if not context.is_current:
        return STALE
    state = context.state
    overdue = state.grace_until is not None and state.cancel_requested_at is None
    kind = GenerationExpired if overdue else GenerationCancelled
    ending = kind(
        reason="deadline" if overdue else "cancelled",
        retryable=True,
        attempt_id=context.attempt.attempt_id,
        billable_units=report.billable_units,
    )
    return _end(context, ending)


def _renew(context: Context, _: RenewReport) -> Outcome:
    if not context.is_current:
        return STALE
    if context.job.lease_until is None:
        # The step was reported meanwhile; this one came late, and nobody works under it any more.
        return context.done(accepted=False)
    until = context.draft.now + LEASE
    job = replace(context.job, lease_until=until, due_at=until)
    context.draft.keep_job(job)
    step = Step.FETCH if job.to_fetch else Step.POLL
    if context.attempt.phase is AttemptPhase.SUBMITTING:
        step = Step.SUBMIT
    return context.done(claimed=Claimed(state=context.state, job=job, step=step))


def _late_fact(context: Context) -> Outcome:
    """After the end (of the job or of the attempt) facts are kept, and nothing else changes."""
    report, attempt = context.command.event, context.attempt
    fact = None
    if isinstance(report, SubmittedReport) and attempt.request_id is None:
        fact = LateFactRecorded(
            attempt_id=attempt.attempt_id, fact="submitted", request_id=report.request_id
        )
    elif isinstance(report, SucceededReport) and context.state.asset is None:
        fact = LateFactRecorded(
            attempt_id=attempt.attempt_id,
            fact="succeeded",
            billable_units=report.billable_units,
        )
    if fact is None or fact.fact in attempt.late_facts:
        return context.done(accepted=False)
    context.record(fact)
    return context.done()


def _end(context: Context, ending: GenerationEnded) -> Outcome:
    draft = context.draft
    state = draft.generation(context.command.stream)
    assert state is not None
    need: Need | None = end_generation(context.world, draft, state, context.job, ending)
    return need or context.done()


_REPORTS: Final[dict[type, Callable[[Context, Any], Outcome]]] = {
    SubmittedReport: _submitted,
    SubmissionUnknownReport: _submission_unknown,
    RunningReport: _running,
    SucceededReport: _succeeded,
    FailedReport: _failed,
    CancelledReport: _cancelled,
    RenewReport: _renew,
}
