"""What holds for a generation however workers, webhooks and the clockwork interleave.

Reports come once, twice, late, with old fences and about old or foreign attempts; workers vanish;
time jumps past leases and deadlines; someone refunds a part of the debit by hand; the owner
cancels, deletes and reports.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st

from contracts.api.generations import FlagReason, GenerationStatus
from contracts.jobs import ReportEvent, SubmittedReport
from ledger_service.domain.commands import RefundDebit
from ledger_service.domain.events.account import DebitRefunded
from ledger_service.domain.events.generation import (
    AttemptAbandoned,
    GenerationSubmitted,
    SubmissionStarted,
)
from ledger_service.domain.generation.state import AttemptPhase
from ledger_service.domain.world import Decision
from tests.fixtures.generating import (
    CANCELLED,
    COMPLETED,
    ENDINGS,
    FAILED,
    NOT_SENT,
    REFUSED,
    RENEW,
    RUNNING,
    SUBMITTED,
    SUCCEEDED,
    UNKNOWN,
    UNREACHABLE,
    paid_generation,
)
from tests.fixtures.worlds import ALICE

PRICE = 40
GRANTED = 100
OTHER_REQUEST = SubmittedReport(request_id="req-2")
HARMLESS = [SUBMITTED, OTHER_REQUEST, UNKNOWN, RUNNING, COMPLETED, UNREACHABLE, RENEW]
FINAL = [SUCCEEDED, SUCCEEDED, SUCCEEDED, FAILED, REFUSED, NOT_SENT, CANCELLED]


class Step(NamedTuple):
    """Wait, then one thing happens; `fence` and `attempt` say how old the reporter's claim is."""

    wait_seconds: float
    kind: str
    report: ReportEvent = RENEW
    fence: int = 0
    attempt: int = 0
    number: int = 1
    request_id: str | None = None
    amount: int = 0


def stories() -> st.SearchStrategy[list[Step]]:
    """Whole lives, with every kind of mishap."""
    waits = st.sampled_from([0.0, 0.0, 0.5, 2.5, 9.0, 9.0, 70.0])
    ages = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 9])
    harmless = st.sampled_from([*HARMLESS, NOT_SENT, UNKNOWN])
    events = st.one_of(harmless, harmless, harmless, st.sampled_from(FINAL))
    reports = st.builds(_report_step, waits, events, ages, ages)
    claims = waits.map(lambda wait: Step(wait, "claim"))
    hints = st.builds(
        lambda wait, number, request_id: Step(wait, "hint", number=number, request_id=request_id),
        waits,
        st.integers(0, 3),
        st.sampled_from([None, "req-1", "req-2"]),
    )
    clockwork = st.sampled_from([0.0, 0.0, 0.0, 0.0, 60.0, 700.0, 4000.0]).map(
        lambda wait: Step(wait, "overdue")
    )
    by_hand = st.integers(1, PRICE + 1).map(lambda amount: Step(0, "refund", amount=amount))
    by_owner = st.sampled_from(["cancel", "delete", "flag"]).map(lambda kind: Step(0, kind))
    common = [claims, claims, claims, reports, reports, reports, reports]
    step = st.one_of(*common, hints, clockwork, by_hand, by_owner)
    # A minimum makes lives long on average, so that some see an end.
    return st.lists(step, min_size=15, max_size=50)


def _report_step(wait: float, report: ReportEvent, fence: int, attempt: int) -> Step:
    return Step(wait, "report", report, fence, attempt)


class Witness:
    """Lives through a story and remembers what no single state shows."""

    def __init__(self, *, price: int = PRICE) -> None:
        self.generation = paid_generation(price=price, granted=GRANTED)
        self.price = price
        self.fences = ["0.0"]
        self.by_hand = 0

    def live(self, step: Step) -> None:
        """One step, and what must hold around it."""
        self.generation.ledger.wait(step.wait_seconds)
        before = self.generation.state
        posted = self.generation.ledger.balances().posted
        fence = self.generation.job.fence
        refunded = self._act(step)
        after = self.generation.state
        if before.status.is_final:
            assert after.status is before.status
            assert self.generation.ledger.balances().posted == posted + refunded
        if fence != self.generation.job.fence:
            assert self.generation.job.fence == fence + 1
            self.fences.append(self.generation.job.fence_text)
        self.check()

    def _act(self, step: Step) -> int:
        if step.kind == "report":
            self.report(step.report, *self.sender(step))
        elif step.kind == "claim":
            self._claim()
        elif step.kind == "hint":
            self.generation.hint(step.number, step.request_id)
        elif step.kind == "overdue":
            self.generation.overdue()
        elif step.kind == "cancel":
            self.generation.ledger.batch(self.generation.cancel_command())
        elif step.kind == "delete":
            self.generation.delete()
        elif step.kind == "flag":
            self.generation.ledger.batch(self.generation.flag_command(FlagReason.OTHER))
        elif self.price:
            return self._refund_by_hand(step.amount)
        return 0

    def sender(self, step: Step) -> tuple[str, str]:
        """The fence and the attempt that a report of this step bears."""
        attempts = ["att_none", *[a.attempt_id for a in self.generation.state.attempts]]
        return self.fences[-1 - step.fence :][0], attempts[-1 - step.attempt :][0]

    def report(self, report: ReportEvent, fence: str, attempt_id: str) -> None:
        """A stale report may tell a fact, and ends nothing."""
        generation = self.generation
        was_final, live = generation.status.is_final, generation.state.live_attempt
        is_current = live is not None and live.attempt_id == attempt_id
        is_current = is_current and fence == generation.job.fence_text
        generation.try_report(report, fence=fence, attempt_id=attempt_id)
        assert is_current or generation.status.is_final == was_final
        if report is SUBMITTED and not was_final and live and live.attempt_id == attempt_id:
            # Whatever a webhook had named before: the submit's answer is the provider's own word.
            told = generation.state.attempt(attempt_id)
            assert told is not None
            assert (told.request_id, told.urls) == (SUBMITTED.request_id, SUBMITTED.urls)

    def _claim(self) -> None:
        generation = self.generation
        job = generation.job
        (outcome,) = generation.ledger.batch(generation.claim_command())
        is_due = job.due_at is not None and job.due_at <= generation.ledger.now
        assert isinstance(outcome, Decision) == is_due
        if is_due and not generation.status.is_final:
            assert generation.job.fence == job.fence + 1
            assert generation.state.live_attempt is not None

    def _refund_by_hand(self, amount: int) -> int:
        left = self.generation.debit.left
        (outcome,) = self.generation.ledger.batch(
            RefundDebit(
                owner=ALICE,
                key=self.generation.ledger.key(),
                debit_id=self.generation.debit.debit_id,
                amount=amount,
            )
        )
        assert isinstance(outcome, Decision) == (amount <= left)
        given = amount if amount <= left else 0
        self.by_hand += given
        return given

    def check(self) -> None:
        """What holds at every instant."""
        state, job = self.generation.state, self.generation.job
        endings = [e for e in self.generation.events if isinstance(e, ENDINGS)]
        assert job.status is state.status
        assert job.flags == len(state.flags)
        assert len(endings) == int(state.status.is_final)
        if state.status.is_final:
            assert job.due_at is None
            assert job.lease_until is None
        else:
            assert job.due_at is not None
            assert job.deadline == (state.grace_until or state.deadline)
            assert state.refund_id is None
        live = [a for a in state.attempts if a.phase is not AttemptPhase.ABANDONED]
        assert live in ([], list(state.attempts[-1:]))
        self.check_money()
        self.check_attempts()

    def check_money(self) -> None:
        """At most one compensation, of exactly what was left; success keeps the rest."""
        state, ledger = self.generation.state, self.generation.ledger
        by_system = [
            new.event
            for new in ledger.log
            if new.key is not None and new.key.space == "s"
            if isinstance(new.event, DebitRefunded)
        ]
        compensated = sum(refund.amount for refund in by_system)
        assert len(by_system) <= 1
        assert compensated == state.refunded
        if state.status.is_final and state.status is not GenerationStatus.SUCCEEDED:
            assert compensated + self.by_hand == self.price
        else:
            assert compensated == 0
        charged = self.price - self.by_hand - compensated
        assert ledger.balances().posted == GRANTED - charged

    def check_attempts(self) -> None:
        """A further attempt follows only one that certainly was not sent."""
        newest: str | None = None
        abandoned, accepted = set(), set()
        for happened in self.generation.events:
            if isinstance(happened, SubmissionStarted):
                assert newest is None or newest in abandoned
                newest = happened.attempt_id
            elif isinstance(happened, AttemptAbandoned):
                assert happened.attempt_id == newest
                assert happened.attempt_id not in accepted, "the provider had it"
                abandoned.add(happened.attempt_id)
            elif isinstance(happened, GenerationSubmitted):
                accepted.add(happened.attempt_id)


@given(stories())
def test_every_life_is_lawful(story: list[Step]) -> None:
    """One ending, one compensation, one attempt at a time, never stuck, whatever happens."""
    witness = Witness()
    for step in story:
        witness.live(step)
    event(witness.generation.status)


@given(stories())
def test_free_generations_move_no_credits(story: list[Step]) -> None:
    """The same lives without a price: nothing is refunded, ever."""
    witness = Witness(price=0)
    for step in story:
        witness.live(step)
    assert witness.generation.ledger.balances().posted == GRANTED


@given(stories())
def test_nothing_is_stuck_for_ever(story: list[Step]) -> None:
    """Whatever came before, the deadline and its grace end every generation."""
    witness = Witness()
    for step in story:
        witness.live(step)
    for _ in range(2):
        witness.generation.pass_deadline()
        witness.check()
    assert witness.generation.status.is_final


@given(stories())
def test_a_repeated_report_changes_nothing(story: list[Step]) -> None:
    """A report whose answer was lost may be sent again: no event and no claim follow from it."""
    witness = Witness()
    for step in story:
        sender = witness.sender(step)
        witness.live(step)
        if step.kind == "report":
            before, fence = witness.generation.events, witness.generation.job.fence
            witness.report(step.report, *sender)
            assert witness.generation.events == before
            assert witness.generation.job.fence == fence
            witness.check()
