"""What must hold: of each decision, of each state, and of all states together."""

from __future__ import annotations

from msgspec.structs import replace

from contracts.api.generations import GenerationStatus
from contracts.jobs import Step
from ledger_service.domain.commands import Key
from ledger_service.domain.events.account import DebitRefunded
from ledger_service.domain.events.generation import (
    GenerationEnded,
    GenerationEvent,
    GenerationExpired,
    GenerationSucceeded,
    LateFactRecorded,
    SubmissionStarted,
)
from ledger_service.domain.generation.state import AttemptPhase
from ledger_service.domain.world import NewEvent
from tests.modelcheck.actors import NOTHING, Phase, State
from tests.modelcheck.books import GRANTED, PRICE, SOON, Asked, Books, Violation, events_of

Events = tuple[NewEvent, ...]


def require(holds: bool, rule: str, what: str) -> None:
    """Raises `Violation` unless it holds."""
    if not holds:
        raise Violation(rule, what)


def judge_decision(before: Books, asked: Asked, after: Books, events: Events) -> None:
    """What a command may do, whatever happened before it."""
    endings = events_of(GenerationEnded, events) + events_of(GenerationSucceeded, events)
    require(len(endings) <= 1, "endings", "it ends twice at once")
    if before.is_final:
        others = [n for n in events_of(GenerationEvent, events) if not _is_late(n)]
        require(not others, "after the end", f"{others}")
    _judge_refunds(before, asked, events)
    require(after.job.fence >= before.job.fence, "fence", "it falls")
    if asked.kind == "report" and not asked.is_current:
        require(not endings, "stale fence", f"{asked.report} ended it")
        kept = replace(before.job, status=after.job.status)
        require(after.job == kept, "stale fence", f"{asked.report} moved the job")
    if after.job.fence > before.job.fence and asked.kind == "claim":
        require(before.job.lease_until != SOON, "lease", "claimed from under a worker")
    for new in events_of(GenerationExpired, events):
        was_asked = before.generation.live_attempt is None or before.generation.grace_until
        require(bool(was_asked), "grace", f"{new.event} before the provider was asked")
    for _ in events_of(SubmissionStarted, events):
        require(before.generation.live_attempt is None, "attempts", "a second one beside the first")


def _judge_refunds(before: Books, asked: Asked, events: Events) -> None:
    """One refund, with the ending, of exactly what is left, under the generation's own key."""
    refunds = events_of(DebitRefunded, events)
    if asked.kind == "refund":
        return
    is_due = bool(events_of(GenerationEnded, events)) and before.debit.left > 0
    require(len(refunds) == is_due, "refunds", f"{len(refunds)} at {asked}")
    for new in refunds:
        assert isinstance(new.event, DebitRefunded)
        amount, left = new.event.amount, before.debit.left
        require(amount == left, "refunds", f"of {amount} where {left} are left")
        key = Key("s", f"refund:{before.generation.generation_id}")
        require(new.key == key, "refund keys", f"{new.key}")


def _is_late(new: NewEvent) -> bool:
    return isinstance(new.event, LateFactRecorded)


def judge_books(books: Books) -> None:
    """What the ledger must look like at any time."""
    state, debit, job = books.generation, books.debit, books.job
    require(books.account.posted == GRANTED - PRICE + debit.refunded, "balance", "does not add up")
    require(job.status is state.status, "row", f"{job.status} of a job that is {state.status}")
    if not state.status.is_final:
        require(job.due_at is not None, "stuck", "it is not final, and never due")
        require(not state.refunded, "charges", "refunded before its end")
    elif state.status is GenerationStatus.SUCCEEDED:
        require(state.asset is not None and not state.refunded, "charges", "a success not charged")
    else:
        require(debit.left == 0, "charges", f"{debit.left} charged for {state.status}")
    if state.status.is_final:
        require(job.due_at is None, "row", "it has ended, and is due")
    live = [a for a in state.attempts[:-1] if a.phase is not AttemptPhase.ABANDONED]
    require(not live, "attempts", "a new one while an older one lives")


def judge_state(books: Books, state: State) -> None:
    """What must hold between ledger, workers and provider."""
    attempts = len(books.generation.attempts)
    require(all(n <= 1 for n in state.posts), "posts", f"an attempt was sent twice: {state.posts}")
    unknown = any(state.posts[attempts:])
    require(not unknown, "posts", "sent without a recorded attempt")
    jobs = sum(truth != NOTHING for truth in state.provider)
    require(jobs <= 1, "jobs", f"it runs {jobs} times at the provider")
    permits = sum(
        w.phase is Phase.CLAIMED and w.permit.step == Step.SUBMIT and not w.is_late
        for w in state.workers
    )
    in_flight = state.wire != 0
    require(permits + in_flight <= 1, "permits", f"{permits} beside {in_flight} in flight")
    if books.generation.status is GenerationStatus.SUCCEEDED:
        require(jobs == 1, "charges", "charged for what nobody made")
