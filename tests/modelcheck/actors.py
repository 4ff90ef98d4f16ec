"""Everybody around the ledger, as moves from state to state: workers, provider, network, time.

A worker does what `job_worker` does, at its coarsest: it claims, performs the step, reports, and
may be slow, cut off or gone between any two of these. What a step finds is the provider's truth at
that moment, or nothing. The one thing taken on trust is time: a POST is begun within its window,
which closes before the lease does, and whoever says that a submit is not at the provider has
waited until none can be on its way.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from contracts.jobs import Step
from tests.modelcheck.books import BY_HAND, NOW, SOON, Asked, Ledger, Permit

Item = TypeVar("Item")

NOTHING: Final = "-"
RUNS: Final = "runs"
DONE: Final = "done"
BROKEN: Final = "broken"
CANCELLED: Final = "cancelled"
GONE: Final = "gone"
"""What the provider has of an attempt."""


class Kind(enum.StrEnum):
    """Whether everybody does their part, a thing happens that need not, or the deadline comes."""

    GOOD = "good"
    OTHER = "other"
    DEADLINE = "deadline"


class Phase(enum.IntEnum):
    """Where a worker stands."""

    IDLE = 0
    CLAIMED = 1
    POSTING = 2
    REPORTING = 3


class Worker(NamedTuple):
    """A worker; `is_current`: its fence is the newest; `is_late`: its window for a POST is over."""

    phase: Phase
    permit: Permit
    is_current: bool = False
    is_late: bool = False
    report: str = ""


IDLE: Final = Worker(Phase.IDLE, Permit("", 0, False, False))


class State(NamedTuple):
    """All there is. `wire` is the attempt whose POST is under way (0: none), `air` a report that
    was left behind on its way; `provider` and `posts` are per attempt."""

    books: int
    workers: tuple[Worker, ...]
    wire: int
    air: Asked | None
    provider: tuple[str, ...]
    posts: tuple[int, ...]


class Move(NamedTuple):
    """One thing that may happen next."""

    label: str
    kind: Kind
    after: State


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How large the world is, and which of its promises about time are broken on purpose."""

    workers: int = 2
    attempts_max: int = 2
    claims_max: int = 2
    pauses_max: int = 1
    listing_complete: bool = True
    has_air: bool = True
    by_hand: bool = True
    forgets: bool = True
    posts_late: bool = False
    believes_too_early: bool = False

    @property
    def slots(self) -> int:
        """Attempts there can be."""
        return self.attempts_max + self.pauses_max


class World:
    """Moves of one generation's world."""

    def __init__(self, ledger: Ledger, options: Options) -> None:
        self._ledger = ledger
        self._options = options
        blank = (NOTHING,) * options.slots, (0,) * options.slots
        self.first = State(ledger.first, (IDLE,) * options.workers, 0, None, *blank)

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that may happen in this state."""
        yield from self._time(state)
        yield from self._provider(state)
        yield from self._others(state)
        seen = set()
        for place, worker in enumerate(state.workers):
            if worker not in seen:  # a worker's twin has the same moves
                seen.add(worker)
                yield from self._worker(state, place, worker)

    # --- time, provider, network ----------------------------------------------------------------

    def _time(self, state: State) -> Iterator[Move]:
        books = self._ledger.books[state.books]
        if books.job.due_at == SOON:
            came = {"due_at": NOW} | ({"lease_until": NOW} if books.job.lease_until else {})
            # The window of every submit that was claimed is shorter than this.
            workers = [_late(worker) for worker in state.workers]
            number = self._ledger.put(state.books, **came)
            yield Move("time: it is due", Kind.GOOD, _with(state, workers, books=number))
        if books.is_final:
            return
        if books.job.deadline == SOON:
            number = self._ledger.put(state.books, deadline=NOW)
            yield Move("time: the deadline", Kind.DEADLINE, state._replace(books=number))
        else:
            yield self._told("clockwork: it is overdue", Kind.DEADLINE, state, Asked("overdue"))

    def _provider(self, state: State) -> Iterator[Move]:
        for number, truth in enumerate(state.provider, 1):
            if truth == NOTHING:
                continue
            yield self._told(f"webhook of {number}", Kind.OTHER, state, Asked("hint", "", number))
            ends = {RUNS: (DONE, BROKEN)}.get(truth, ())
            for end in ends:
                yield Move(f"provider: {end}", Kind.GOOD, _truth(state, number, end))
            if self._options.forgets and truth in (RUNS, DONE):
                yield Move("provider: forgets", Kind.OTHER, _truth(state, number, GONE))
        is_awaited = any(worker.phase is Phase.POSTING for worker in state.workers)
        if state.wire and not is_awaited:
            arrived = _truth(state, state.wire, RUNS)._replace(wire=0)
            yield Move("wire: a POST arrives late", Kind.GOOD, arrived)
            yield Move("wire: a POST is lost", Kind.OTHER, state._replace(wire=0))

    def _others(self, state: State) -> Iterator[Move]:
        books = self._ledger.books[state.books]
        refunded_by_hand = books.debit.refunded - books.generation.refunded
        if self._options.by_hand and not refunded_by_hand and books.debit.left >= BY_HAND:
            yield self._told("support: a refund by hand", Kind.OTHER, state, Asked("refund"))
        if state.air is not None:
            label = f"air: {state.air.report} arrives late"
            yield self._told(label, Kind.OTHER, state, state.air)
            yield Move("air: lost", Kind.OTHER, state._replace(air=None))

    # --- a worker -------------------------------------------------------------------------------

    def _worker(self, state: State, place: int, worker: Worker) -> Iterator[Move]:
        match worker.phase:
            case Phase.IDLE:
                yield from self._claims(state, place)
                return
            case Phase.CLAIMED:
                yield from self._performs(state, place, worker)
                yield from self._renews(state, place, worker)
            case Phase.POSTING:
                yield from self._posts(state, place, worker)
            case Phase.REPORTING:
                yield from self._reports(state, place, worker)
        yield Move("worker: dies", Kind.OTHER, _set(state, place, IDLE))

    def _claims(self, state: State, place: int) -> Iterator[Move]:
        asked = Asked("claim")
        yield self._told("worker: claims", Kind.GOOD, state, asked, place, IDLE)
        if self._ledger.books[state.books].job.due_at == NOW:
            yield self._told("worker: claims, and never hears", Kind.OTHER, state, asked)

    def _performs(self, state: State, place: int, worker: Worker) -> Iterator[Move]:
        for kind, report, after in self._findings(state, worker):
            reporting = worker._replace(phase=Phase.REPORTING, report=report)
            yield Move(
                f"worker: {worker.permit.step} → {report}", kind, _set(after, place, reporting)
            )
        if worker.permit.step == Step.SUBMIT and (not worker.is_late or self._options.posts_late):
            number = worker.permit.attempt
            posts = _at(state.posts, number, state.posts[number - 1] + 1)
            sent = _set(state, place, worker._replace(phase=Phase.POSTING))
            yield Move("worker: POSTs", Kind.GOOD, sent._replace(wire=number, posts=posts))
            if not worker.is_late:
                late = _set(state, place, _late(worker))
                yield Move("time: a window closes", Kind.OTHER, late)

    def _findings(self, state: State, worker: Worker) -> Iterator[tuple[Kind, str, State]]:
        """What a step may find, and what it changes at the provider."""
        permit = worker.permit
        truth = state.provider[permit.attempt - 1]
        match permit.step:
            case Step.SUBMIT:
                yield (Kind.GOOD if worker.is_late else Kind.OTHER), "not sent", state
                if self._ledger.books[state.books].generation.paused < self._options.pauses_max:
                    yield Kind.OTHER, "paused", state
            case Step.POLL if not permit.has_id:
                yield Kind.OTHER, "unreachable", state
                if truth != NOTHING:  # the list keeps what the queue has forgotten
                    is_sure = self._options.listing_complete
                    yield (Kind.GOOD if is_sure else Kind.OTHER), "found", state
                elif self._is_known_missing(state, permit.attempt):
                    yield Kind.GOOD, "not sent", state
            case Step.POLL:
                yield Kind.OTHER, "unreachable", state
                if truth == RUNS and permit.cancel:
                    yield Kind.GOOD, "cancelled", _truth(state, permit.attempt, CANCELLED)
                yield Kind.GOOD, _SEEN[truth], state
            case Step.FETCH:
                yield Kind.OTHER, "fetch trouble", state
                yield Kind.GOOD, "succeeded" if truth == DONE else "failed", state

    def _is_known_missing(self, state: State, attempt: int) -> bool:
        """Whether absence proves something: no submit can be on its way any more."""
        if self._options.believes_too_early:
            return True
        may_post = any(
            worker.phase is Phase.CLAIMED
            and worker.permit.step == Step.SUBMIT
            and worker.permit.attempt == attempt
            and not worker.is_late
            for worker in state.workers
        )
        return self._options.listing_complete and state.wire != attempt and not may_post

    def _renews(self, state: State, place: int, worker: Worker) -> Iterator[Move]:
        asked = Asked("report", "renew", worker.permit.attempt, worker.is_current)
        after = state._replace(books=self._ledger.turn(state.books, asked).books)
        if not worker.is_current and worker.permit.step != Step.SUBMIT:
            after = _set(after, place, IDLE)
        yield Move("worker: renews", Kind.OTHER, after)

    def _posts(self, state: State, place: int, worker: Worker) -> Iterator[Move]:
        landed = state._replace(wire=0)
        accepted = _truth(landed, worker.permit.attempt, RUNS)
        for label, kind, after, report in (
            ("accepted", Kind.GOOD, accepted, "submitted"),
            ("accepted, the answer is lost", Kind.OTHER, accepted, "unknown"),
            ("refused", Kind.OTHER, landed, "refused"),
            ("too busy", Kind.OTHER, landed, "not sent"),
            ("lost", Kind.OTHER, landed, "unknown"),
            ("no answer, still on its way", Kind.OTHER, state, "unknown"),
        ):
            reporting = worker._replace(phase=Phase.REPORTING, report=report)
            yield Move(f"POST: {label}", kind, _set(after, place, reporting))

    def _reports(self, state: State, place: int, worker: Worker) -> Iterator[Move]:
        asked = Asked("report", worker.report, worker.permit.attempt, worker.is_current)
        label = f"worker: reports {worker.report}"
        yield self._told(label, Kind.GOOD, state, asked, place, IDLE)
        yield self._told(f"{label}, and never hears", Kind.OTHER, state, asked, place, worker)
        if self._options.has_air:
            gone = _set(state, place, IDLE)._replace(air=asked)
            yield Move(f"worker: dies, its {worker.report} on the way", Kind.OTHER, gone)

    # --- the ledger -----------------------------------------------------------------------------

    def _told(
        self,
        label: str,
        kind: Kind,
        state: State,
        asked: Asked,
        place: int | None = None,
        worker: Worker = IDLE,
    ) -> Move:
        """The ledger takes a command. Its caller, if it has a place and is idle then, gets the
        claim that the answer brings; whoever held one before holds an old one."""
        turn = self._ledger.turn(state.books, asked)
        workers, air = list(state.workers), state.air
        if place is not None:
            workers[place] = worker
        if turn.permit is not None and asked.report != "renew":
            workers = [w._replace(is_current=False) for w in workers]
            air = air._replace(is_current=False) if air else None
            if place is not None and worker is IDLE:
                workers[place] = Worker(Phase.CLAIMED, turn.permit, is_current=True)
        return Move(label, kind, _with(state, workers, books=turn.books)._replace(air=air))


_SEEN: Final = {
    NOTHING: "unreachable",
    RUNS: "running",
    DONE: "completed",
    BROKEN: "failed",
    CANCELLED: "cancelled",
    GONE: "failed",
}
"""What a poll finds; a job that is gone has failed, sooner or later."""


def _late(worker: Worker) -> Worker:
    may_post = worker.phase is Phase.CLAIMED and worker.permit.step == Step.SUBMIT
    return worker._replace(is_late=True) if may_post else worker


def _with(state: State, workers: list[Worker], *, books: int) -> State:
    # Workers are alike: only which of them there are matters.
    ordered = tuple(sorted(workers))
    return State(books, ordered, state.wire, state.air, state.provider, state.posts)


def _set(state: State, place: int, worker: Worker) -> State:
    workers = list(state.workers)
    workers[place] = worker
    return _with(state, workers, books=state.books)


def _truth(state: State, number: int, truth: str) -> State:
    return state._replace(provider=_at(state.provider, number, truth))


def _at(items: tuple[Item, ...], number: int, item: Item) -> tuple[Item, ...]:
    return (*items[: number - 1], item, *items[number:])
