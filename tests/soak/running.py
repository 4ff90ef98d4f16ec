"""One soak: customers order, processes die, and in the end the books are read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from deploy.run.child import wait_until
from tests.fixtures.services import scratch_folder
from tests.fixtures.stack import Stack
from tests.soak import judges
from tests.soak.books import Books, is_quiet
from tests.soak.faults import commit, faults_of
from tests.soak.moves import moves_of
from tests.soak.shoppers import Shopper

RICH_CREDITS: Final = 10**6
POOR_CREDITS: Final = 200
"""The last customer has no more: some of their orders cannot be paid, or only after a refund."""
LATE_SECONDS: Final = 60.0
"""What may come after deadline and grace: a cancel, a poll that was not due yet, the removal."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How large a soak is. The seed decides all but the timing.

    `pause_seconds`: between two moves of one customer; `calm_seconds`: between two faults;
    `leftovers_seconds`: no worker is frozen for longer, so none stores a file after it.
    """

    seed: int
    generations: int
    customers: int = 8
    pause_seconds: float = 1.0
    calm_seconds: float = 5.0
    deadline_seconds: int = 60
    grace_seconds: int = 5
    leftovers_seconds: float = 10.0
    chaos_rate: float = 0.3


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: figures for a reader, and findings, which should be none."""

    findings: list[str]
    seconds: float
    endings: Counter[str]
    reasons: Counter[str]
    answers: Counter[str]
    faults: Counter[str]
    attempts: int
    jobs: int
    refunds: int
    files: int


Progress = Callable[[str], None]


def soak(plan: Plan, progress: Progress) -> Outcome:
    """Run it all on this machine, in a folder that is gone afterwards."""
    started = time.monotonic()
    with scratch_folder() as folder, _running(plan, folder) as stack:
        shoppers = _shoppers(stack, plan)
        faults = _trouble(stack, plan, shoppers, progress)
        for shopper in shoppers:
            assert shopper.failure is None, shopper.failure
        progress("all is ordered and mended; waiting for the last to end")
        _wait(stack, plan)
        books = Books(stack, folder)
        found = [*judges.findings(books, shoppers), *judges.replay(stack)]
        outcome = _outcome(books, shoppers, faults, found, time.monotonic() - started)
        for shopper in shoppers:
            shopper.close()
        return outcome


@contextmanager
def _running(plan: Plan, folder: Path) -> Iterator[Stack]:
    options = (
        *("--chaos", f"{plan.seed}:{plan.chaos_rate}"),
        *("--job-seconds", "0.3", "--concurrency", "500"),
    )
    stack = Stack(
        folder,
        fal=options,
        deadline_seconds=plan.deadline_seconds,
        grace_seconds=plan.grace_seconds,
        leftovers_seconds=plan.leftovers_seconds,
    )
    try:
        yield stack
    finally:
        stack.close()


def _shoppers(stack: Stack, plan: Plan) -> list[Shopper]:
    shoppers = []
    for number in range(plan.customers):
        orders = len(range(number, plan.generations, plan.customers))
        moves = moves_of(plan.seed, number, orders, plan.pause_seconds)
        granted = POOR_CREDITS if number == plan.customers - 1 else RICH_CREDITS
        shoppers.append(Shopper(stack, f"customer-{number}", moves, granted))
    return shoppers


def _trouble(stack: Stack, plan: Plan, shoppers: list[Shopper], progress: Progress) -> Counter[str]:
    """Let the customers go, and break things until they are done; what was done, by kind."""
    done: Counter[str] = Counter()
    for shopper in shoppers:
        shopper.start()

    def is_over() -> bool:
        return all(shopper.is_done for shopper in shoppers)

    for fault in faults_of(plan.seed, plan.calm_seconds):
        if not commit(stack, fault, is_over):
            return done
        done.update(f"{fault.kind} {name}" for name in fault.parts)
        ordered = sum(len(shopper.ordered) for shopper in shoppers)
        progress(f"{ordered:>6,} of {plan.generations:,} ordered; {fault}")
    raise AssertionError("faults have no end")


def _wait(stack: Stack, plan: Plan) -> None:
    """Until every generation has ended and every file that is of no use is gone."""
    last = plan.deadline_seconds + plan.grace_seconds + plan.leftovers_seconds + LATE_SECONDS
    # The judges say what is left, if anything is.
    with suppress(TimeoutError):
        wait_until(lambda: is_quiet(stack), last, "the end of everything")


def _outcome(
    books: Books, shoppers: list[Shopper], faults: Counter[str], found: list[str], seconds: float
) -> Outcome:
    lives = books.lives.values()
    answers: Counter[str] = Counter()
    for shopper in shoppers:
        answers += shopper.answers
    return Outcome(
        findings=found,
        seconds=seconds,
        endings=Counter(life.ending for life in lives),
        reasons=Counter(life.reason for life in lives if life.reason),
        answers=answers,
        faults=faults,
        attempts=sum(life.attempts for life in lives),
        jobs=sum(books.accepted.values()),
        refunds=sum(map(len, books.refunds.values())),
        files=len(books.files),
    )
