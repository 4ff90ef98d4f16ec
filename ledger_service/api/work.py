"""Work: how workers claim steps of generations and report on them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Controller

from contracts.api.batches import BatchResult
from contracts.api.keys import Scope
from contracts.jobs import (
    Claim,
    ClaimsReply,
    ClaimsRequest,
    FailedReport,
    ReportEvent,
    ReportReply,
    ReportRequest,
    ReportsReply,
    ReportsRequest,
    RunningReport,
    Step,
    StepReport,
    WorkModelsReply,
)
from contracts.limits import REPORTS_BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.api.body import to_struct
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.problem_details import problem_of
from ledger_service.domain.commands import ClaimGeneration, ReportGeneration
from ledger_service.domain.generation.state import Claimed, Reported
from ledger_service.errors import CorruptHistory, Rejected, Unavailable

log: Final = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A report that was taken: whose generation, which one, what was said, what came of it."""

    owner: str
    generation_id: str
    event: ReportEvent
    result: Reported


class WorkController(Controller):
    """`/v1/work/…`, and claims and reports of one generation."""

    path = "/v1"
    tags = ("Work",)

    @post(
        "/work/claims",
        scope=Scope.WORK,
        reply=ClaimsReply,
        summary="Claim due work",
        example={"worker": "worker-1", "max": 10},
    )
    async def claim_due(self, call: Call, body: ClaimsRequest) -> HttpReply:
        """Up to `max` steps of generations that are due now, of all tenants; maybe none.

        Those that `generations` names are claimed instead, as far as they are due.
        """
        reads = call.services.generations.reads
        await reads.note_claims()
        if body.generations:
            due = list((await reads.owners_of(body.generations)).items())
        else:
            due = [(generation_id, owner) for owner, generation_id in await reads.due(body.max)]
        outcomes = await asyncio.gather(
            *[
                _claimed(call.part(number), owner, generation_id, body.worker)
                for number, (generation_id, owner) in enumerate(due)
            ],
            return_exceptions=True,
        )
        return json_reply(await _claims_reply(call, _granted(outcomes)))

    @get(
        "/work/models",
        scope=Scope.WORK,
        reply=WorkModelsReply,
        summary="List models with their providers",
    )
    async def list_work_models(self, call: Call) -> HttpReply:
        """Who makes each model, and under which endpoint: where to look for what was submitted."""
        return json_reply(WorkModelsReply(items=call.services.generations.catalogue.makers()))

    @post(
        "/generations/{generation_id:str}/claims",
        scope=Scope.WORK,
        reply=ClaimsReply,
        summary="Claim a step of one generation",
        problems=(ProblemCode.GENERATION_NOT_FOUND, ProblemCode.NOT_DUE),
        example={"worker": "worker-1"},
    )
    async def claim_generation(
        self, call: Call, generation_id: str, body: ClaimsRequest
    ) -> HttpReply:
        """Permission for one step until `lease_until`; a submit only until `post_before`."""
        reads = call.services.generations.reads
        await reads.note_claims()
        owner = await _owner(call, generation_id)
        claimed = await _claimed(call, owner, generation_id, body.worker)
        return json_reply(await _claims_reply(call, [claimed]))

    @post(
        "/generations/{generation_id:str}/reports",
        scope=Scope.WORK,
        reply=ReportReply,
        summary="Report on a claimed step",
        problems=(ProblemCode.GENERATION_NOT_FOUND, ProblemCode.STALE_FENCE),
        example={
            "fence": "1.3",
            "attempt_id": "att_…",
            "event": {"type": "running", "provider_status": "IN_PROGRESS"},
        },
    )
    async def report_step(self, call: Call, generation_id: str, body: ReportRequest) -> HttpReply:
        """What happened. The ledger decides what it means, compensation included.

        Repeats are harmless. `next_claim` is the next step, already claimed for this worker.
        """
        owner = await _owner(call, generation_id)
        taken = await _take(call, owner, generation_id, body)
        await _note_progress(call, [taken])
        (reply,) = await _replies(call, [taken])
        return json_reply(reply)

    @post(
        "/work/reports",
        scope=Scope.WORK,
        reply=ReportsReply,
        summary="Report on many steps",
        body_max_bytes=REPORTS_BODY_MAX_BYTES,
        example={
            "reports": [
                {
                    "generation_id": "gen_…",
                    "fence": "1.3",
                    "attempt_id": "att_…",
                    "event": {"type": "running", "provider_status": "IN_PROGRESS"},
                }
            ]
        },
    )
    async def report_steps(self, call: Call, body: ReportsRequest) -> HttpReply:
        """1 to 25 reports of different generations; they share requests, reads and commits.

        Each has the effect and the answer (`status` and `body`) of the single report, refusals
        included. Repeats are harmless here too.
        """
        reports = [_readable(document) for document in body.reports]
        owners = await call.services.generations.reads.owners_of(
            [report.generation_id for report in reports if isinstance(report, StepReport)]
        )
        outcomes = await asyncio.gather(
            *[
                _take_one(call.part(number), owners, report)
                for number, report in enumerate(reports)
            ],
            return_exceptions=True,
        )
        await _note_progress(call, [it for it in outcomes if isinstance(it, Taken)])
        return json_reply(ReportsReply(results=await _results_of(call, outcomes)))


def _readable(document: Any) -> StepReport | Rejected:
    try:
        return to_struct(document, StepReport)
    except Rejected as refused:
        return refused


async def _take_one(call: Call, owners: Mapping[str, str], report: StepReport | Rejected) -> Taken:
    if isinstance(report, Rejected):
        raise report
    owner = owners.get(report.generation_id)
    if owner is None:
        raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
    return await _take(call, owner, report.generation_id, report)


async def _take(call: Call, owner: str, generation_id: str, report: ReportRequest) -> Taken:
    command = ReportGeneration(
        owner=owner,
        generation_id=generation_id,
        fence=report.fence,
        attempt_id=report.attempt_id,
        event=report.event,
        worker=call.identity.key_id,
        patience=call.services.generations.patience,
    )
    private = None
    if isinstance(report.event, FailedReport) and report.event.message:
        private = {"message": report.event.message}
    done = await call.submit(command, private)
    assert isinstance(done.result, Reported)
    return Taken(owner, generation_id, report.event, done.result)


async def _results_of(
    call: Call, outcomes: Sequence[Taken | BaseException]
) -> tuple[BatchResult, ...]:
    """Every report's own answer; their next claims are made together."""
    replies = iter(await _replies(call, [it for it in outcomes if isinstance(it, Taken)]))
    results = []
    for outcome in outcomes:
        if isinstance(outcome, Taken):
            status, body = 200, msgspec.json.encode(next(replies))
        elif isinstance(outcome, Exception):
            problem = problem_of(outcome, "/v1/work/reports", call.trace.trace_id)
            status, body = problem.status, problem.body
        else:
            raise outcome
        results.append(BatchResult(status=status, body=msgspec.Raw(body)))
    return tuple(results)


async def _replies(call: Call, reports: Sequence[Taken]) -> list[ReportReply]:
    """With the next claims. What is reported is recorded: where the claims cannot be read, they
    are left to run out, and whoever claims next goes on."""
    claims: Sequence[Claim | None] = [None] * len(reports)
    with suppress(Unavailable):
        claims = await _claims_of(call, [report.result.claimed for report in reports])
    return [
        ReportReply(accepted=report.result.accepted, next_claim=claim)
        for report, claim in zip(reports, claims, strict=True)
    ]


async def _note_progress(call: Call, reports: Sequence[Taken]) -> None:
    """For those who watch. It is of no consequence, and no report fails for it."""
    completed: list[str] = []
    running: dict[str, tuple[str, RunningReport]] = {}
    for owner, generation_id, seen, result in reports:
        if not isinstance(seen, RunningReport) or seen.error is not None or not result.accepted:
            continue
        if seen.completed:
            completed.append(generation_id)
        else:
            running[generation_id] = (owner, seen)
    reads = call.services.generations.reads
    with suppress(Unavailable, CorruptHistory):
        if completed:
            await reads.note_verdicts(completed)
        if running:
            await reads.note_progress(running)


async def _owner(call: Call, generation_id: str) -> str:
    owner = await call.services.generations.reads.owner_of(generation_id)
    if owner is None:
        raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
    return owner


async def _claimed(call: Call, owner: str, generation_id: str, worker: str) -> Claimed | None:
    command = ClaimGeneration(owner=owner, generation_id=generation_id, worker=worker)
    done = await call.submit(command)
    # Without a claim it had too many claims or attempts, and ended instead.
    assert done.result is None or isinstance(done.result, Claimed)
    return done.result


async def _claims_reply(call: Call, granted: Sequence[Claimed | None]) -> ClaimsReply:
    claims = await _claims_of(call, granted)
    return ClaimsReply(claims=tuple(claim for claim in claims if claim is not None))


async def _claims_of(call: Call, granted: Sequence[Claimed | None]) -> list[Claim | None]:
    """What the worker is told of each, with the inputs that it needs read in one go."""
    wanted = [it.state for it in granted if it is not None and _needs_input(it)]
    contents = await _contents(call, [(state.owner, state.private) for state in wanted])

    def build(claimed: Claimed) -> Claim | None:
        kept: dict[str, Any] | None = None
        if _needs_input(claimed):
            if claimed.state.private not in contents:
                return None
            kept = contents[claimed.state.private]
        try:
            return call.services.generations.claims.build(claimed, (kept or {}).get("input", {}))
        except Rejected as error:  # its model is not in this process's catalogue
            log.error("%s cannot be told: %s", claimed.state.generation_id, error.code)
            return None

    return [None if claimed is None else build(claimed) for claimed in granted]


async def _contents(
    call: Call, wanted: Sequence[tuple[str, str]]
) -> Mapping[str, dict[str, Any] | None]:
    """All of them at once, null where it was erased; each by itself, when one is unreadable: it
    is left out, and must not cost the others their claims."""
    reads = call.services.generations.reads
    try:
        return await reads.contents(wanted)
    except CorruptHistory:
        found: dict[str, dict[str, Any] | None] = {}
        for one in wanted:
            try:
                found |= await reads.contents([one])
            except CorruptHistory as error:
                log.error("an input of %s cannot be read: %s", one[0], error)
        return found


def _needs_input(claimed: Claimed) -> bool:
    """Later steps do not, unless the request must be looked for by its input."""
    attempt = claimed.state.live_attempt
    assert attempt is not None
    return claimed.step is Step.SUBMIT or attempt.request_id is None


def _granted(outcomes: Sequence[Claimed | BaseException | None]) -> list[Claimed]:
    """The claims to hand out. Each was granted once and would be lost unseen, so what keeps one
    from being made is raised only when there is none. Another worker may have been first; that is
    no trouble."""
    claims = [outcome for outcome in outcomes if isinstance(outcome, Claimed)]
    troubles = [
        outcome
        for outcome in outcomes
        if isinstance(outcome, BaseException) and not isinstance(outcome, Rejected)
    ]
    if troubles and not claims:
        raise troubles[0]
    for trouble in troubles:
        log.warning("a due generation cannot be claimed: %s", type(trouble).__name__)
    return claims
