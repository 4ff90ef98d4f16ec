"""The ledger's part of the model: its real decisions, between states that are few.

Time stands still at `NOW`; what passes is told by moving an instant of the job's row into the
past. Decisions only ever compare instants with now, so nothing else of them matters. Neither do
versions, ids and the height of a fence, only whether a fence is the newest: books that differ in
nothing else are the same books. So there are few of them, and each decision is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from contracts.jobs import (
    PROVIDER_PAUSED,
    FailedReport,
    ReportEvent,
    RunningReport,
    SubmittedReport,
)
from ledger_service.domain import commands
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.decide import decide
from ledger_service.domain.events import Event
from ledger_service.domain.generation import claims
from ledger_service.domain.generation.state import Claimed, GenerationState, Job, Reported
from ledger_service.domain.ids import generation_stream
from ledger_service.domain.world import DebitState, Decision, NewEvent, Outcome, Refusal, World
from tests.fixtures.generating import (
    CANCELLED,
    COMPLETED,
    FAILED,
    GRACE,
    NOT_SENT,
    REFUSED,
    RENEW,
    RUNNING,
    SUCCEEDED,
    UNKNOWN,
    UNREACHABLE,
    URLS,
    paid_generation,
)
from tests.fixtures.worlds import ALICE, NOON

NOW: Final = NOON
SOON: Final = NOW + timedelta(seconds=8)
"""Stands for any instant that has not come."""
PRICE: Final = 40
GRANTED: Final = 100
BY_HAND: Final = 10

Decide = Callable[[World, commands.Command, datetime], Outcome]

REPORTS: Final[dict[str, ReportEvent]] = {
    "unknown": UNKNOWN,
    "running": RUNNING,
    "completed": COMPLETED,
    "unreachable": UNREACHABLE,
    "fetch trouble": RunningReport(provider_status="COMPLETED", completed=True, error="storage"),
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "not sent": NOT_SENT,
    "refused": REFUSED,
    "cancelled": CANCELLED,
    "renew": RENEW,
    "paused": FailedReport(reason=PROVIDER_PAUSED, sent=False, retryable=True),
}
"""Reports by the name that traces give them; `submitted` and `found` name a request besides."""


class Books(NamedTuple):
    """What the ledger knows of the one generation and of the account that pays for it."""

    account: AccountState
    generation: GenerationState
    job: Job
    debit: DebitState

    @property
    def is_final(self) -> bool:
        """The generation has ended."""
        return self.generation.status.is_final


class Asked(NamedTuple):
    """A command, as the environment means it: attempts by number, a fence by whether it is the
    newest."""

    kind: str
    report: str = ""
    attempt: int = 0
    is_current: bool = False


class Permit(NamedTuple):
    """A claim as its worker sees it."""

    step: str
    attempt: int
    has_id: bool
    cancel: bool


class Turn(NamedTuple):
    """What a command did: the books after it (by number), and what its caller got."""

    books: int
    permit: Permit | None


class Violation(Exception):
    """A rule that does not hold; `at` names the command that broke it, if one did."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
        self.at = ""


Judge = Callable[[Books, Asked, Books, tuple[NewEvent, ...]], None]


class Ledger:
    """All books met so far, by number, and what each command makes of each.

    `decide` is the seam at which a test plants a bug. `judge` sees every decision once.
    """

    def __init__(self, judge: Judge, decide: Decide = decide) -> None:
        self._judge = judge
        self._decide = decide
        self._numbers: dict[Hashable, int] = {}
        self._turns: dict[tuple[int, Asked], Turn] = {}
        self.books: list[Books] = []
        self.first = self._number(_requested())

    def turn(self, number: int, asked: Asked) -> Turn:
        """What `asked` does to the books with this number."""
        known = self._turns.get((number, asked))
        if known is None:
            try:
                known = self._turns[number, asked] = self._take(self.books[number], asked)
            except Violation as broken:
                broken.at = f"{asked.kind} {asked.report}".strip()
                raise
        return known

    def put(self, number: int, **job: datetime) -> int:
        """The same books at a later time: instants of the job's row have come."""
        books = self.books[number]
        return self._number(books._replace(job=replace(books.job, **job)))

    def _take(self, before: Books, asked: Asked) -> Turn:
        command = _command(before, asked)
        try:
            outcome = self._decide(_world(before), command, NOW)
        except AssertionError as error:
            raise Violation("assertion", str(error) or "in the domain") from error
        if isinstance(outcome, Refusal):
            return Turn(self._number(before), None)
        assert isinstance(outcome, Decision), f"the model's world lacks something: {outcome}"
        after = _after(before, outcome)
        self._judge(before, asked, after, outcome.events)
        return Turn(self._number(after), _permit(outcome))

    def _number(self, books: Books) -> int:
        books = books._replace(job=_plain(books.job))
        key = _key(books)
        number = self._numbers.setdefault(key, len(self.books))
        if number == len(self.books):
            self.books.append(books)
        return number


@contextmanager
def small_limits(*, attempts_max: int, claims_max: int) -> Iterator[None]:
    """Fewer attempts and silent claims than in earnest, so that the limits are within reach."""
    module = vars(claims)
    before = {name: module[name] for name in ("ATTEMPTS_MAX", "UNREPORTED_CLAIMS_MAX")}
    module.update(ATTEMPTS_MAX=attempts_max, UNREPORTED_CLAIMS_MAX=claims_max)
    try:
        yield
    finally:
        module.update(before)


def events_of(kind: type[Event], events: tuple[NewEvent, ...]) -> list[NewEvent]:
    """Those of a kind."""
    return [new for new in events if isinstance(new.event, kind)]


def _requested() -> Books:
    made = paid_generation(price=PRICE, granted=GRANTED)
    return Books(made.ledger.account(), made.state, made.job, made.debit)


def _command(books: Books, asked: Asked) -> commands.Command:
    owner, generation_id = ALICE, books.generation.generation_id
    match asked.kind:
        case "claim":
            return commands.ClaimGeneration(owner=owner, generation_id=generation_id, worker="w")
        case "overdue":
            return commands.EndOverdue(owner=owner, generation_id=generation_id, grace=GRACE)
        case "refund":
            return commands.RefundDebit(owner=owner, debit_id=books.debit.debit_id, amount=BY_HAND)
        case "hint":
            return commands.HintGeneration(
                owner=owner,
                generation_id=generation_id,
                number=asked.attempt,
                request_id=_request_id(asked.attempt),
            )
    return commands.ReportGeneration(
        owner=owner,
        generation_id=generation_id,
        fence=books.job.fence_text if asked.is_current else "0.0",
        attempt_id=books.generation.attempts[asked.attempt - 1].attempt_id,
        event=_event(asked),
        worker="w",
    )


def _event(asked: Asked) -> ReportEvent:
    if asked.report == "submitted":
        return SubmittedReport(request_id=_request_id(asked.attempt), urls=URLS)
    if asked.report == "found":
        return SubmittedReport(request_id=_request_id(asked.attempt))
    return REPORTS[asked.report]


def _request_id(attempt: int) -> str:
    return f"req-{attempt}"


def _world(books: Books) -> World:
    world = World()
    world.accounts[ALICE] = books.account
    world.generations[generation_stream(ALICE, books.generation.generation_id)] = books.generation
    world.jobs[books.generation.generation_id] = books.job
    world.debits[books.debit.debit_id] = books.debit
    return world


def _after(before: Books, decision: Decision) -> Books:
    generation_id = before.generation.generation_id
    stream = generation_stream(ALICE, generation_id)
    return Books(
        decision.accounts.get(ALICE) or before.account,
        decision.generations.get(stream) or before.generation,
        decision.jobs.get(generation_id) or before.job,
        decision.debits.get(before.debit.debit_id) or before.debit,
    )


def _permit(decision: Decision) -> Permit | None:
    granted = decision.result
    if isinstance(granted, Reported):
        granted = granted.claimed
    if not isinstance(granted, Claimed):
        return None
    attempt = granted.state.live_attempt
    assert attempt is not None
    return Permit(
        granted.step.value,
        attempt.number,
        attempt.request_id is not None,
        granted.state.grace_until is not None,
    )


def _plain(job: Job) -> Job:
    """The row with each instant either come or not."""
    return replace(
        job,
        due_at=_flat(job.due_at),
        lease_until=_flat(job.lease_until),
        deadline=_flat(job.deadline),
    )


def _flat(at: datetime | None) -> datetime | None:
    if at is None:
        return None
    return NOW if at <= NOW else SOON


def _key(books: Books) -> Hashable:
    state, job = books.generation, books.job
    attempts = tuple(
        (a.phase, a.request_id is not None, a.urls is not None, a.late_facts)
        for a in state.attempts
    )
    return (
        (state.status, attempts, state.grace_until is not None, state.asset is not None),
        (state.refund_id is not None, state.refunded, state.paused),
        (job.due_at, job.lease_until, job.deadline, job.to_fetch, job.unreported, job.is_hinted),
        (job.status, books.debit.refunded, books.account.posted),
    )
