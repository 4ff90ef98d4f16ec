"""Work: how workers claim steps of generations and report on them."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from litestar import Controller

from contracts.api.keys import Scope
from contracts.jobs import (
    Claim,
    ClaimsReply,
    ClaimsRequest,
    FailedReport,
    ReportReply,
    ReportRequest,
    RunningReport,
    Step,
    WorkModelsReply,
)
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.domain.commands import ClaimGeneration, ReportGeneration
from ledger_service.domain.generation.state import Claimed, Reported
from ledger_service.errors import Rejected, Unavailable

log: Final = logging.getLogger(__name__)


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
        """Up to `max` steps of generations that are due now, of all tenants; maybe none."""
        reads = call.services.generations.reads
        await reads.note_claims()
        due = await reads.due(body.max)
        claims = await asyncio.gather(
            *[_claim(call, owner, generation_id, body.worker) for owner, generation_id in due],
            return_exceptions=True,
        )
        return json_reply(ClaimsReply(claims=tuple(_granted(claims))))

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
        claim = await _claim(call, owner, generation_id, body.worker)
        return json_reply(ClaimsReply(claims=(claim,) if claim else ()))

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
        command = ReportGeneration(
            owner=owner,
            generation_id=generation_id,
            fence=body.fence,
            attempt_id=body.attempt_id,
            event=body.event,
            worker=call.identity.key_id,
        )
        private = None
        if isinstance(body.event, FailedReport) and body.event.message:
            private = {"message": body.event.message}
        done = await call.submit(command, private)
        assert isinstance(done.result, Reported)
        if isinstance(body.event, RunningReport) and done.result.accepted:
            await _note_progress(call, generation_id, body.event)
        claimed = done.result.claimed
        next_claim = await _claim_of(call, claimed) if claimed else None
        return json_reply(ReportReply(accepted=done.result.accepted, next_claim=next_claim))


async def _note_progress(call: Call, generation_id: str, seen: RunningReport) -> None:
    """For those who watch. It is of no consequence, and no report fails for it."""
    if seen.error is None and not seen.completed:
        with suppress(Unavailable):
            await call.services.generations.reads.note_progress(generation_id, seen)


async def _owner(call: Call, generation_id: str) -> str:
    owner = await call.services.generations.reads.owner_of(generation_id)
    if owner is None:
        raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
    return owner


async def _claim(call: Call, owner: str, generation_id: str, worker: str) -> Claim | None:
    command = ClaimGeneration(owner=owner, generation_id=generation_id, worker=worker)
    done = await call.submit(command)
    if done.result is None:  # it had too many claims or attempts, and ended instead
        return None
    assert isinstance(done.result, Claimed)
    return await _claim_of(call, done.result)


async def _claim_of(call: Call, claimed: Claimed) -> Claim:
    services, state = call.services.generations, claimed.state
    attempt = state.live_attempt
    assert attempt is not None
    content: dict[str, Any] = {}
    # Later steps do not need the input, unless the request must be looked for by it.
    if claimed.step is Step.SUBMIT or attempt.request_id is None:
        private = await services.reads.content(state.owner, state.private)
        content = private.get("input", {})
    return services.claims.build(claimed, content)


def _granted(outcomes: list[Claim | BaseException | None]) -> list[Claim]:
    """The claims to hand out. Each was granted once and would be lost unseen, so what keeps one
    from being made is raised only when there is none. Another worker may have been first; that is
    no trouble."""
    claims = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
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
