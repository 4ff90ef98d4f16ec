"""Reports of people about generations: kept beside it, bounded, and of no other consequence."""

from __future__ import annotations

import pytest

from contracts.api.generations import FlagReason
from contracts.jobs import ReportEvent
from contracts.limits import FLAGS_MAX
from contracts.problems import ProblemCode
from tests.fixtures.generating import (
    COMPLETED,
    FAILED,
    SUBMITTED,
    SUCCEEDED,
    Generating,
    paid_generation,
)


def at_every_stage() -> list[Generating]:
    """One that nobody has, one under way, a success and a failure."""
    waiting, running, succeeded, failed = (paid_generation() for _ in range(4))
    stories: list[tuple[Generating, list[ReportEvent]]] = [
        (running, [SUBMITTED]),
        (succeeded, [SUBMITTED, COMPLETED, SUCCEEDED]),
        (failed, [SUBMITTED, FAILED]),
    ]
    for generation, reports in stories:
        generation.claim()
        for report in reports:
            generation.report(report)
    return [waiting, running, succeeded, failed]


def test_a_flag_changes_nothing_but_the_flags() -> None:
    """Neither status nor money nor what the worker may do, at any stage; the newest is last."""
    for generation in at_every_stage():
        job, balances, status = generation.job, generation.ledger.balances(), generation.status
        generation.flag(FlagReason.SEXUAL, private="ab" * 32)
        generation.flag(FlagReason.BROKEN)
        assert [(flag.reason, flag.private) for flag in generation.state.flags] == [
            (FlagReason.SEXUAL, "ab" * 32),
            (FlagReason.BROKEN, None),
        ]
        assert len({flag.flag_id for flag in generation.state.flags}) == 2
        assert (generation.ledger.balances(), generation.status) == (balances, status)
        changed = {
            name for name in job.__struct_fields__
            if getattr(job, name) != getattr(generation.job, name)
        }  # fmt: skip
        assert changed == {"flags"}
        assert generation.job.flags == 2


def test_a_worker_goes_on_with_what_was_flagged() -> None:
    """The count of flags outlives every step of the job."""
    generation = paid_generation()
    generation.claim()
    generation.flag()
    for report in (SUBMITTED, COMPLETED, SUCCEEDED):
        generation.report(report)
    assert generation.job.flags == 1
    assert generation.job.due_at is None


def test_only_so_many_flags_are_kept() -> None:
    """One more is refused, and nothing recorded."""
    generation = paid_generation()
    for _ in range(FLAGS_MAX):
        generation.flag()
    events = len(generation.ledger.log)
    refusal = generation.ledger.refuse(generation.flag_command(FlagReason.OTHER))
    assert (refusal.code, refusal.fields) == (ProblemCode.LIMIT_REACHED, {"limit": FLAGS_MAX})
    assert len(generation.ledger.log) == events


@pytest.mark.parametrize("exists", [True, False])
def test_what_is_not_shown_cannot_be_flagged(exists: bool) -> None:
    """Neither what was deleted nor what never was."""
    generation = paid_generation()
    if exists:
        generation.delete()
    else:
        generation.generation_id = "gen_never"
    refusal = generation.ledger.refuse(generation.flag_command(FlagReason.OTHER))
    assert refusal.code is ProblemCode.GENERATION_NOT_FOUND
