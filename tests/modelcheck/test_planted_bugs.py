"""Bugs planted at the model's seam: each rule finds its own, with the shortest way to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.jobs import SubmittedReport, SucceededReport
from ledger_service.domain import commands
from ledger_service.domain.account.refunds import record_refund
from ledger_service.domain.commands import Command, Key
from ledger_service.domain.decide import decide
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import DebitRefunded
from ledger_service.domain.events.generation import (
    AttemptAbandoned,
    GenerationEnded,
    GenerationSucceeded,
)
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.state import AttemptPhase, Reported
from ledger_service.domain.world import Decision, NewEvent, Outcome, World
from tests.fixtures.generating import ASSET, UNREACHABLE
from tests.modelcheck.actors import Options
from tests.modelcheck.books import NOW, Decide
from tests.modelcheck.exploring import Explorer, Found

SMALL = Options(workers=2, pauses_max=0, by_hand=False, forgets=False)
ONE = Options(workers=1, attempts_max=1, pauses_max=0, has_air=False, by_hand=False, forgets=False)
DEPTH = 12


def found(decide: Decide = decide, options: Options = SMALL, depth: int | None = DEPTH) -> Found:
    """What the model objects to first."""
    with pytest.raises(Found) as caught:
        Explorer(options, decide).explore(depth)
    return caught.value


def job_of(world: World) -> Any:
    """The world's one job."""
    (job,) = world.jobs.values()
    return job


def state_of(world: World) -> Any:
    """The world's one generation."""
    (state,) = world.generations.values()
    return state


def without_fences(world: World, command: Command, now: datetime) -> Outcome:
    """Whoever reports is believed to hold the newest claim."""
    if isinstance(command, commands.ReportGeneration):
        command = replace(command, fence=job_of(world).fence_text)
    return decide(world, command, now)


def refunding_per_attempt(world: World, command: Command, now: datetime) -> Outcome:
    """A refund bears its attempt's key: the database would let each attempt have one."""
    outcome = decide(world, command, now)
    if not isinstance(outcome, Decision):
        return outcome
    attempts = len(state_of(world).attempts)
    return replace(outcome, events=tuple(_keyed(new, attempts) for new in outcome.events))


def _keyed(new: NewEvent, attempts: int) -> NewEvent:
    if isinstance(new.event, DebitRefunded) and new.key is not None and new.key.space == "s":
        return replace(new, key=Key("s", f"{new.key.text}:{attempts}"))
    return new


def charging_late_successes(world: World, command: Command, now: datetime) -> Outcome:
    """A success after the end makes it a success: refunded, and delivered."""
    state = state_of(world)
    is_success = isinstance(command, commands.ReportGeneration) and isinstance(
        command.event, SucceededReport
    )
    if not (is_success and state.status.is_final and state.asset is None):
        return decide(world, command, now)
    assert isinstance(command, commands.ReportGeneration)
    draft = Draft(world, command, now)
    succeeded = GenerationSucceeded(attempt_id=command.attempt_id, asset=ASSET)
    draft.record_generation(command.stream, state.owner, succeeded)
    return finish(draft, result=Reported(accepted=True))


def repeating_silent_submits(world: World, command: Command, now: datetime) -> Outcome:
    """A submit whose worker was never heard of again is sent once more."""
    state = state_of(world)
    live = state.live_attempt
    is_silent = live is not None and live.phase is AttemptPhase.SUBMITTING
    if isinstance(command, commands.ClaimGeneration) and is_silent and job_of(world).due_at == NOW:
        attempts = (*state.attempts[:-1], replace(live, phase=AttemptPhase.ABANDONED))
        world.generations[command.stream] = replace(state, attempts=attempts)
    return decide(world, command, now)


def ignoring_leases(world: World, command: Command, now: datetime) -> Outcome:
    """Anybody may claim at any time."""
    job = job_of(world)
    if isinstance(command, commands.ClaimGeneration) and job.due_at is not None:
        world.jobs[job.generation_id] = replace(job, due_at=NOW)
    return decide(world, command, now)


def forgetting_to_look_again(world: World, command: Command, now: datetime) -> Outcome:
    """After a poll that found nothing out, nobody ever looks again."""
    outcome = decide(world, command, now)
    if isinstance(command, commands.ReportGeneration) and isinstance(outcome, Decision):
        for job in outcome.jobs.values():
            if job.lease_until is None and not job.status.is_final:
                return replace(outcome, jobs={job.generation_id: replace(job, due_at=None)})
    return outcome


def keeping_the_credits(world: World, command: Command, now: datetime) -> Outcome:
    """A failure is not refunded."""
    outcome = decide(world, command, now)
    if not isinstance(outcome, Decision):
        return outcome
    if not any(isinstance(new.event, GenerationEnded) for new in outcome.events):
        return outcome
    kept = tuple(new for new in outcome.events if not isinstance(new.event, DebitRefunded))
    return replace(outcome, events=kept, accounts={}, debits={})


def refunding_abandoned_attempts(world: World, command: Command, now: datetime) -> Outcome:
    """Credits come back with each attempt that was not sent, though another one follows."""
    outcome = decide(world, command, now)
    if not isinstance(outcome, Decision):
        return outcome
    kinds = {type(new.event) for new in outcome.events}
    (debit,) = world.debits.values()
    if AttemptAbandoned not in kinds or DebitRefunded in kinds or debit is None or not debit.left:
        return outcome
    draft = Draft(world, command, now)
    assert record_refund(draft, command.owner, debit, debit.left) is None
    refund = draft.decision(http_status=200, result=None, completed={})
    return replace(
        outcome,
        events=(*outcome.events, *refund.events),
        accounts=refund.accounts,
        debits=refund.debits,
    )


def ending_at_the_deadline(world: World, command: Command, now: datetime) -> Outcome:
    """The provider is not asked what became of it."""
    if isinstance(command, commands.EndOverdue):
        state = state_of(world)
        world.generations[command.stream] = replace(state, grace_until=now)
        outcome = decide(world, command, now)
        world.generations[command.stream] = state
        return outcome
    return decide(world, command, now)


def refunding_the_price(world: World, command: Command, now: datetime) -> Outcome:
    """What was given back by hand is given back again: the debit is taken for untouched."""
    if not isinstance(command, commands.RefundDebit):
        for debit_id, debit in world.debits.items():
            assert debit is not None
            untouched = tuple(0 for _ in debit.slices)
            world.debits[debit_id] = replace(debit, refunded=0, slices_refunded=untouched)
    return decide(world, command, now)


BUGS: dict[str, tuple[Decide, set[str]]] = {
    "without fences": (without_fences, {"stale fence"}),
    "refunding per attempt": (refunding_per_attempt, {"refund keys"}),
    "repeating silent submits": (repeating_silent_submits, {"attempts", "jobs", "permits"}),
    "ignoring leases": (ignoring_leases, {"lease"}),
    "forgetting to look again": (forgetting_to_look_again, {"stuck"}),
    "keeping the credits": (keeping_the_credits, {"refunds"}),
    "refunding abandoned attempts": (refunding_abandoned_attempts, {"refunds"}),
    "ending at the deadline": (ending_at_the_deadline, {"grace"}),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_faulty_ledger_is_found(name: str) -> None:
    """Each planted fault breaks the rule that is there for it."""
    faulty, rules = BUGS[name]
    assert found(faulty).rule in rules


def test_a_success_that_is_charged_after_its_refund_is_found() -> None:
    """It takes a whole life to get there: the report comes when deadline and grace are over."""
    failure = found(charging_late_successes, ONE, depth=None)
    assert failure.rule == "after the end"
    assert failure.path[-1] == "report succeeded"


def test_a_refund_of_more_than_is_left_is_found() -> None:
    """Together with a refund by hand."""
    assert found(refunding_the_price, replace(ONE, by_hand=True)).rule in {"refunds", "balance"}


@pytest.mark.parametrize(
    ("broken", "rules"),
    [
        ({"posts_late": True}, {"permits", "posts", "jobs"}),
        ({"believes_too_early": True}, {"permits", "jobs"}),
    ],
)
def test_a_worker_that_keeps_no_time_is_found(broken: dict[str, bool], rules: set[str]) -> None:
    """What the ledger takes on trust of its workers' clocks is needed: without it a job runs
    twice."""
    assert found(options=Options(workers=2, pauses_max=0, by_hand=False, **broken)).rule in rules


def never_looking_for_lost_submits(world: World, command: Command, now: datetime) -> Outcome:
    """What a listing says is not taken."""
    live = state_of(world).live_attempt
    if isinstance(command, commands.ReportGeneration) and live is not None:
        is_listing = isinstance(command.event, SubmittedReport) and command.event.urls is None
        if is_listing and live.phase is AttemptPhase.LOST:
            command = replace(command, event=UNREACHABLE)
    return decide(world, command, now)


def granting_grace_for_ever(world: World, command: Command, now: datetime) -> Outcome:
    """The second deadline is none."""
    if isinstance(command, commands.EndOverdue) and state_of(world).grace_until is not None:
        return Draft(world, command, now).decision(http_status=200, result=None, completed={})
    return decide(world, command, now)


@pytest.mark.parametrize(
    ("faulty", "rule", "listing_complete"),
    [
        (never_looking_for_lost_submits, "ends", True),
        (granting_grace_for_ever, "ends by deadline", False),
    ],
)
def test_a_generation_without_an_end_is_found(
    faulty: Decide, rule: str, listing_complete: bool
) -> None:
    """No state is unlawful in itself; it is only that nothing can ever come of it."""
    options = replace(ONE, listing_complete=listing_complete)
    assert found(faulty, options, depth=None).rule == rule
    assert found(faulty, options, depth=9).rule == rule


def test_the_way_to_a_bug_is_the_shortest() -> None:
    """Whoever reads it sees what happened, and nothing that does not belong to it."""
    failure = found(ignoring_leases)
    assert failure.path == ["worker: claims", "claim"]
    assert str(failure).endswith("  1. worker: claims\n  2. claim")
