"""Claims, fences, attempts and deadlines of a generation."""

from __future__ import annotations

from datetime import timedelta

import pytest

from contracts.api.generations import GenerationStatus
from contracts.jobs import (
    PROVIDER_ACCOUNT_LOCKED,
    PROVIDER_KEY_REFUSED,
    PROVIDER_PAUSED,
    FailedReport,
    ReportEvent,
    Step,
    SubmittedReport,
)
from contracts.limits import (
    ATTEMPTS_MAX,
    LEASE_SECONDS,
    POST_WINDOW_SECONDS,
    UNREPORTED_CLAIMS_MAX,
)
from contracts.problems import ProblemCode
from ledger_service.domain.generation.state import AttemptPhase
from ledger_service.domain.world import Refusal
from tests.fixtures.generating import (
    CANCELLED,
    COMPLETED,
    FAILED,
    GRACE,
    NO_RESULT,
    NOT_SENT,
    REFUSED,
    RENEW,
    RUNNING,
    SUBMITTED,
    SUCCEEDED,
    UNKNOWN,
    UNREACHABLE,
    URLS,
    Generating,
    paid_generation,
    submitted_generation,
)
from tests.fixtures.worlds import BOB

LEASE = timedelta(seconds=LEASE_SECONDS)


def seconds_to_next_look(generation: Generating) -> float:
    """How long until the job is due."""
    assert generation.job.due_at is not None
    return (generation.job.due_at - generation.ledger.now).total_seconds()


def is_stale(outcome: object) -> bool:
    """The report was refused for its fence."""
    return isinstance(outcome, Refusal) and outcome.code is ProblemCode.STALE_FENCE


def test_the_first_claim_permits_one_post() -> None:
    """The attempt exists before the POST, which is allowed for a short while."""
    generation = paid_generation()
    claimed = generation.claim()
    (attempt,) = generation.state.attempts
    assert claimed.step is Step.SUBMIT
    assert generation.status is GenerationStatus.SUBMITTING
    assert attempt.post_before == generation.ledger.now + timedelta(seconds=POST_WINDOW_SECONDS)
    assert claimed.job.fence_text == "1.1"
    assert claimed.job.due_at == claimed.job.lease_until == generation.ledger.now + LEASE


def test_a_job_under_a_lease_is_not_due() -> None:
    """Two workers cannot hold one job; the second is told when it is due."""
    generation = paid_generation()
    generation.claim()
    refusal = generation.ledger.refuse(generation.claim_command("w2"))
    assert refusal.code is ProblemCode.NOT_DUE
    assert refusal.fields == {"generation_status": "submitting", "due_at": generation.job.due_at}


def test_an_instant_job_takes_four_calls() -> None:
    """Each answer carries the next claim: claim, submitted, completed, succeeded."""
    generation = paid_generation()
    steps = [generation.claim().step]
    fences = [generation.job.fence]
    for report in (SUBMITTED, COMPLETED):
        claimed = generation.report(report).claimed
        assert claimed is not None
        steps.append(claimed.step)
        fences.append(claimed.job.fence)
    assert generation.report(SUCCEEDED).claimed is None
    assert steps == [Step.SUBMIT, Step.POLL, Step.FETCH]
    assert fences == [1, 2, 3]
    assert generation.kinds == [
        "GenerationRequested",
        "SubmissionStarted",
        "GenerationSubmitted",
        "GenerationStarted",
        "GenerationSucceeded",
    ]


@pytest.mark.parametrize("event", [SUCCEEDED, FAILED, NOT_SENT, CANCELLED, RUNNING, RENEW])
def test_a_stale_fence_ends_nothing(event: ReportEvent) -> None:
    """Only the newest claim may end the job or postpone it."""
    generation = submitted_generation()
    job = generation.job
    for fence in ("1.1", "1.3", "0.2", "2.2", "", "x"):
        assert is_stale(generation.try_report(event, fence=fence or "-"))
    assert generation.job == job
    assert generation.status is GenerationStatus.SUBMITTED


@pytest.mark.parametrize("event", [SUBMITTED, SUCCEEDED, FAILED, CANCELLED])
def test_a_report_on_an_unknown_attempt_is_refused(event: ReportEvent) -> None:
    """Whoever does not know the attempt's id knows no facts about it."""
    generation = paid_generation()
    generation.claim()
    assert is_stale(generation.try_report(event, attempt_id="att_forged"))
    assert generation.kinds[-1] == "SubmissionStarted"


def test_a_generation_is_found_under_its_owner_alone() -> None:
    """Another account's worker, webhook or clockwork finds nothing."""
    generation = paid_generation()
    generation.owner = BOB
    refusal = generation.ledger.refuse(generation.claim_command())
    assert refusal.code is ProblemCode.GENERATION_NOT_FOUND


def test_a_submit_that_never_reported_is_lost_not_repeated() -> None:
    """The next claim asks the provider; nothing posts again."""
    generation = paid_generation()
    generation.claim()
    claimed = generation.claim("w2")
    assert claimed.step is Step.POLL
    assert generation.status is GenerationStatus.SUBMISSION_UNKNOWN
    assert generation.kinds[-2:] == ["SubmissionStarted", "SubmissionLost"]
    for _ in range(5):
        generation.report(UNREACHABLE)
        assert generation.claim().step is Step.POLL
    assert len(generation.state.attempts) == 1


def test_a_lost_answer_is_healed_by_a_listing() -> None:
    """The request id found at the provider makes it an ordinary running job."""
    generation = paid_generation()
    generation.claim()
    generation.report(UNKNOWN)
    assert generation.job.status is GenerationStatus.SUBMISSION_UNKNOWN
    generation.claim()
    claimed = generation.report(SubmittedReport(request_id="found")).claimed
    assert claimed is not None
    assert claimed.step is Step.POLL
    assert generation.status is GenerationStatus.SUBMITTED


def test_only_a_submit_that_certainly_was_not_sent_is_repeated() -> None:
    """`failed` with `sent` false abandons the attempt; the next claim begins another one."""
    generation = paid_generation()
    generation.claim()
    generation.report(UNKNOWN)
    generation.claim()
    generation.report(NOT_SENT)
    assert generation.status is GenerationStatus.REQUESTED
    assert generation.claim().step is Step.SUBMIT
    first, second = generation.state.attempts
    assert (first.phase, second.phase) == (AttemptPhase.ABANDONED, AttemptPhase.SUBMITTING)
    assert second.number == 2


def test_the_fact_of_a_submit_counts_even_with_a_stale_fence() -> None:
    """A slow worker's answer still tells the request id, once, and takes no claim."""
    generation = paid_generation()
    slow = generation.claim().job.fence_text
    fresh = generation.claim("w2").job
    reported = generation.report(SUBMITTED, fence=slow)
    assert (reported.accepted, reported.claimed) == (True, None)
    assert generation.job.fence == fresh.fence
    assert generation.job.due_at == fresh.due_at
    assert generation.state.attempts[0].request_id == "req-1"
    assert not generation.report(SUBMITTED, fence=slow).accepted
    other = SubmittedReport(request_id="req-2")
    assert not generation.report(other, fence=slow).accepted
    assert not generation.report(other).accepted
    assert generation.kinds.count("GenerationSubmitted") == 1


def test_a_webhook_may_come_before_the_submits_answer() -> None:
    """It names the request; the answer that follows adds the URLs, once."""
    generation = paid_generation()
    generation.claim()
    generation.hint()
    attempt = generation.state.attempts[0]
    assert (attempt.phase, attempt.urls) == (AttemptPhase.SUBMITTED, None)
    claimed = generation.report(SUBMITTED).claimed
    assert claimed is not None
    assert claimed.step is Step.POLL
    assert generation.state.attempts[0].urls == URLS
    generation.report(RUNNING)
    assert not generation.report(SUBMITTED, fence="1.1").accepted
    assert generation.status is GenerationStatus.RUNNING


def test_the_submits_answer_corrects_what_a_webhook_named() -> None:
    """The provider's own word to us wins, once; another answer after it does not."""
    generation = paid_generation()
    generation.claim()
    generation.hint(request_id="req-of-others")
    claimed = generation.report(SUBMITTED).claimed
    assert claimed is not None
    assert claimed.step is Step.POLL
    attempt = generation.state.attempts[0]
    assert (attempt.request_id, attempt.urls) == ("req-1", URLS)
    assert not generation.report(SubmittedReport(request_id="req-2", urls=URLS)).accepted
    assert generation.state.attempts[0].request_id == "req-1"


def test_what_is_found_of_the_wrong_request_ends_nothing() -> None:
    """A slow submit's answer voids the claim of whoever looks where a webhook sent them."""
    generation = paid_generation()
    slow = generation.claim().job.fence_text
    generation.hint(request_id="req-of-others")
    misled = generation.claim("w2").job.fence_text
    assert generation.report(SUBMITTED, fence=slow).accepted
    for event in (FAILED, SUCCEEDED, COMPLETED):
        assert is_stale(generation.try_report(event, fence=misled))
    assert seconds_to_next_look(generation) == 0
    assert generation.claim("w3").state.attempts[0].request_id == "req-1"


def test_fetches_in_vain_are_counted_in_a_row() -> None:
    """The worker is told how often the result could not be had; a re-run of the job starts anew."""
    generation = submitted_generation()
    told = []
    for _ in range(3):
        generation.report(NO_RESULT)
        told.append(generation.claim().job.fetches)
    assert told == [1, 2, 3]
    generation.report(UNREACHABLE)
    assert generation.job.fetches == 0
    generation.claim()
    assert generation.report(COMPLETED).claimed is not None
    assert generation.job.fetches == 0


def test_late_urls_do_not_set_a_running_job_back() -> None:
    """A slow submit's URLs are taken over while the status stays `running`."""
    generation = paid_generation()
    slow = generation.claim().job.fence_text
    generation.hint()
    generation.claim("w2")
    generation.report(RUNNING)
    assert generation.report(SUBMITTED, fence=slow).accepted
    assert generation.state.attempts[0].urls == URLS
    assert generation.status is GenerationStatus.RUNNING
    assert generation.job.status is GenerationStatus.RUNNING


def test_not_sent_is_not_believed_against_a_webhook() -> None:
    """The provider has the request, so no second one follows."""
    generation = paid_generation()
    generation.claim()
    generation.hint()
    assert not generation.report(NOT_SENT).accepted
    assert generation.claim().step is Step.POLL
    assert len(generation.state.attempts) == 1


def test_a_webhook_makes_the_job_due_now() -> None:
    """A hint is no verdict: it only says that it is time to look."""
    generation = submitted_generation()
    generation.ledger.wait(100)
    generation.report(RUNNING)
    assert seconds_to_next_look(generation) == 25
    generation.hint()
    assert seconds_to_next_look(generation) == 0
    assert generation.status is GenerationStatus.RUNNING


@pytest.mark.parametrize(("number", "request_id"), [(2, "req-1"), (0, None)])
def test_a_webhook_for_another_attempt_changes_nothing(number: int, request_id: str | None) -> None:
    """Old, future and forged numbers are ignored."""
    generation = submitted_generation()
    generation.report(RUNNING)
    job = generation.job
    assert generation.hint(number, request_id).events == ()
    assert generation.job == job


def test_a_webhook_does_not_take_the_job_from_its_worker() -> None:
    """While a lease runs, the hint waits for it; then it is time to look again at once, once."""
    generation = submitted_generation()
    job = generation.job
    generation.hint()
    assert (generation.job.fence, generation.job.due_at) == (job.fence, job.due_at)
    generation.report(RUNNING)
    assert seconds_to_next_look(generation) == 0
    generation.claim()
    generation.report(RUNNING)
    assert seconds_to_next_look(generation) == 2


def test_the_next_look_comes_after_a_quarter_of_the_age() -> None:
    """Never sooner than 2 s nor later than 60 s."""
    generation = submitted_generation()
    waits = []
    for age in (1, 20, 100, 10_000):
        generation.ledger.now = generation.state.attempts[0].started_at + timedelta(seconds=age)
        if generation.job.lease_until is None:
            generation.claim()
        generation.report(RUNNING)
        waits.append(seconds_to_next_look(generation))
    assert waits == [2, 5, 25, 60]


def test_a_fetch_that_failed_is_fetched_again() -> None:
    """Once the provider has completed, further steps fetch, until it is found otherwise."""
    generation = submitted_generation()
    generation.report(COMPLETED)
    trouble = type(COMPLETED)(provider_status="COMPLETED", completed=True, error="storage down")
    assert generation.report(trouble).claimed is None
    assert generation.claim().step is Step.FETCH
    generation.report(RUNNING)
    assert generation.claim().step is Step.POLL


def test_a_renewal_keeps_the_fence_and_extends_the_lease() -> None:
    """A worker that is still at it keeps its claim."""
    generation = submitted_generation()
    fence = generation.job.fence
    generation.ledger.wait(5)
    claimed = generation.report(RENEW).claimed
    assert claimed is not None
    assert claimed.job.fence == generation.job.fence == fence
    assert claimed.job.lease_until == generation.ledger.now + LEASE == generation.job.due_at
    assert claimed.step is Step.POLL
    generation.report(COMPLETED)
    again = generation.report(RENEW).claimed
    assert again is not None
    assert again.step is Step.FETCH


@pytest.mark.parametrize("renews", [False, True])
def test_claims_that_nobody_comes_back_from_are_poison(renews: bool) -> None:
    """Past the limit the job fails and is refunded; renewing is not coming back."""
    generation = submitted_generation()
    for _ in range(UNREPORTED_CLAIMS_MAX - 1):
        generation.claim()
        if renews:
            generation.report(RENEW)
    assert not generation.status.is_final
    assert generation.job.due_at is not None
    generation.ledger.now = generation.job.due_at
    assert generation.ledger.do(generation.claim_command()).result is None
    assert generation.status is GenerationStatus.FAILED
    assert generation.state.ending is not None
    assert generation.state.ending.reason == "too_many_claims"
    assert generation.ledger.balances().posted == 100


def test_attempts_that_never_leave_have_an_end() -> None:
    """A provider that refuses every submit for long enough fails the job, with a refund."""
    generation = paid_generation()
    for _ in range(ATTEMPTS_MAX):
        assert generation.claim().step is Step.SUBMIT
        generation.report(NOT_SENT)
    assert generation.job.due_at is not None
    generation.ledger.now = generation.job.due_at
    assert generation.ledger.do(generation.claim_command()).result is None
    assert generation.state.ending is not None
    assert generation.state.ending.reason == "too_many_attempts"
    assert generation.ledger.balances().posted == 100


def test_attempts_that_a_pause_held_back_do_not_count() -> None:
    """A provider may be locked for as long as the deadline allows: the pause is waited for as it
    says, does not make later waits longer, and leaves the attempts that count as many as ever."""
    generation = paid_generation()
    paused = FailedReport(
        reason=PROVIDER_PAUSED, sent=False, retryable=True, retry_after_seconds=7.0
    )
    for _ in range(2 * ATTEMPTS_MAX):
        assert generation.claim().step is Step.SUBMIT
        generation.report(paused)
        assert seconds_to_next_look(generation) == 7
    generation.claim()
    generation.report(NOT_SENT)
    assert seconds_to_next_look(generation) == 2
    for _ in range(ATTEMPTS_MAX - 1):
        generation.claim()
        generation.report(NOT_SENT)
    assert not generation.status.is_final
    assert generation.job.due_at is not None
    generation.ledger.now = generation.job.due_at
    assert generation.ledger.do(generation.claim_command()).result is None
    assert generation.state.ending is not None
    assert generation.state.ending.reason == "too_many_attempts"


def test_a_pause_that_outlasts_the_deadline_costs_nobody_anything() -> None:
    """Held back to the end, it is expired at its deadline and refunded."""
    generation = paid_generation()
    paused = FailedReport(reason=PROVIDER_PAUSED, sent=False, retryable=True)
    for _ in range(3):
        generation.claim()
        generation.report(paused)
    generation.pass_deadline()
    assert generation.status is GenerationStatus.EXPIRED
    assert generation.ledger.balances().posted == 100


@pytest.mark.parametrize("reason", [PROVIDER_PAUSED, PROVIDER_ACCOUNT_LOCKED, PROVIDER_KEY_REFUSED])
def test_where_nobody_is_to_wait_for_a_locked_provider_all_is_refunded(reason: str) -> None:
    """Held back until patience ends, and looked at then, however long the pause: it has failed, for
    no reason of its own, and costs nothing. The wait for a worker before that is not the
    provider's."""
    generation = paid_generation()
    generation.patience = timedelta(seconds=60)
    generation.ledger.wait(400)
    report = FailedReport(reason=reason, sent=False, retryable=True, retry_after_seconds=40.0)
    generation.claim()
    generation.report(report)
    assert seconds_to_next_look(generation) == 40
    generation.claim()
    generation.report(report)
    assert seconds_to_next_look(generation) == 20
    generation.claim()
    generation.report(report)
    assert generation.status is GenerationStatus.FAILED
    assert generation.state.ending is not None
    assert generation.state.ending.reason == "provider_down"
    assert generation.state.ending.retryable
    assert generation.ledger.balances().posted == 100


def test_patience_is_for_a_provider_that_takes_nothing() -> None:
    """A job that the provider is too busy for is tried as before."""
    generation = paid_generation()
    generation.patience = timedelta(seconds=1)
    for _ in range(3):
        generation.claim()
        generation.report(NOT_SENT)
    assert not generation.status.is_final


def test_waits_between_attempts_grow_and_heed_the_provider() -> None:
    """2 s, doubled up to 60 s, or longer when the provider says so."""
    generation = paid_generation()
    waits = []
    for _ in range(7):
        generation.claim()
        generation.report(NOT_SENT)
        waits.append(seconds_to_next_look(generation))
    assert waits == [2, 4, 8, 16, 32, 60, 60]
    generation.claim()
    told = FailedReport(reason="busy", sent=False, retryable=True, retry_after_seconds=90)
    generation.report(told)
    assert seconds_to_next_look(generation) == 90


def test_a_deadline_without_an_attempt_expires_at_once() -> None:
    """Nothing is at the provider, so there is nobody to ask."""
    generation = paid_generation()
    generation.ledger.wait(599)
    assert generation.overdue().events == ()
    generation.pass_deadline()
    assert generation.kinds == ["GenerationRequested", "GenerationExpired"]
    assert generation.ledger.balances().posted == 100


def test_a_deadline_first_cancels_at_the_provider() -> None:
    """A live attempt is cancelled and asked about; its cancellation means expired."""
    generation = submitted_generation()
    generation.report(RUNNING)
    generation.pass_deadline()
    assert generation.kinds[-1] == "DeadlinePassed"
    assert generation.job.status is GenerationStatus.RUNNING
    assert generation.job.deadline == generation.ledger.now + GRACE
    assert seconds_to_next_look(generation) == 0
    assert generation.overdue().events == ()
    generation.claim()
    generation.report(CANCELLED)
    assert generation.status is GenerationStatus.EXPIRED
    assert generation.ledger.balances().posted == 100


def test_a_verdict_within_the_grace_decides() -> None:
    """Success after the deadline is success: it was paid for and it is there."""
    generation = submitted_generation()
    generation.pass_deadline()
    generation.claim()
    generation.report(COMPLETED)
    generation.report(SUCCEEDED)
    assert generation.status is GenerationStatus.SUCCEEDED
    assert generation.ledger.balances().posted == 60


def test_after_the_grace_it_is_expired_without_a_verdict() -> None:
    """Nobody could tell: the caller is refunded, what the provider bills is our question."""
    generation = paid_generation()
    generation.claim()
    generation.pass_deadline()
    generation.pass_deadline()
    assert generation.status is GenerationStatus.EXPIRED
    assert generation.ledger.balances().posted == 100
    assert generation.job.due_at is None
    assert generation.overdue().events == ()


def test_a_deadline_leaves_a_working_worker_alone() -> None:
    """While a lease runs it stays; the deadline acts when it ends."""
    generation = submitted_generation()
    generation.ledger.now = generation.job.deadline - timedelta(seconds=1)
    claimed = generation.claim()
    generation.pass_deadline()
    assert generation.job.due_at == claimed.job.due_at


def test_no_new_attempt_after_the_deadline() -> None:
    """An attempt that turns out not to have been sent is the end then."""
    generation = paid_generation()
    generation.claim()
    generation.pass_deadline()
    generation.claim()
    generation.report(NOT_SENT)
    assert generation.status is GenerationStatus.FAILED
    assert generation.ledger.balances().posted == 100


def test_facts_about_an_abandoned_attempt_are_kept() -> None:
    """The provider had it after all: recorded as our cost, and the next attempt goes on."""
    generation = paid_generation()
    generation.claim()
    first = generation.state.attempts[0].attempt_id
    generation.report(NOT_SENT)
    generation.claim()
    assert generation.report(SUBMITTED, attempt_id=first).accepted
    assert not generation.report(SUBMITTED, attempt_id=first).accepted
    assert generation.report(SUCCEEDED, attempt_id=first).accepted
    assert generation.status is GenerationStatus.SUBMITTING
    assert generation.state.attempts[0].late_facts == ("submitted", "succeeded")


@pytest.mark.parametrize("ending", [NOT_SENT, REFUSED])
def test_a_webhook_for_an_attempt_that_is_over_is_kept_as_a_fact(ending: ReportEvent) -> None:
    """It proves that the provider had it after all: known once, and nothing else changes."""
    generation = paid_generation()
    generation.claim()
    generation.report(ending)
    job, status = generation.job, generation.status
    assert len(generation.hint().events) == 1
    assert generation.hint().events == ()
    (attempt,) = generation.state.attempts
    assert (attempt.request_id, attempt.late_facts) == ("req-1", ("submitted",))
    assert not generation.report(SUBMITTED, attempt_id=attempt.attempt_id).accepted
    assert (generation.job, generation.status) == (job, status)


def test_an_ended_job_is_never_due() -> None:
    """After the end there is nothing to claim, hint at or postpone."""
    generation = submitted_generation()
    generation.report(FAILED)
    job = generation.job
    assert job.due_at is None
    refusal = generation.ledger.refuse(generation.claim_command())
    assert refusal.code is ProblemCode.NOT_DUE
    assert refusal.fields == {"generation_status": "failed", "due_at": None}
    for event in (RENEW, RUNNING, UNKNOWN, NOT_SENT, CANCELLED):
        assert not generation.report(event).accepted
    assert generation.hint().events == ()
    assert generation.job == job
