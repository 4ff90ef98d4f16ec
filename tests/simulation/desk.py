"""The ledger's doors for workers and providers: what their controllers do, without HTTP."""

from __future__ import annotations

from typing import Any, Final

from contracts.jobs import Claim, FailedReport, ReportReply, ReportRequest, Step
from contracts.problems import ProblemCode
from ledger_service.domain.commands import (
    ClaimGeneration,
    GenerationCommand,
    HintGeneration,
    ReportGeneration,
)
from ledger_service.domain.generation.state import Claimed, Reported
from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.claiming import WEBHOOK_PURPOSE, ClaimBuilder
from ledger_service.generations.document import shipped
from ledger_service.signing import Signer
from tests.simulation.ledger import Ledger
from tests.simulation.tables import content_of

CATALOGUE: Final = Catalogue(shipped())
MODEL: Final = CATALOGUE.models()[0].model
_SIGNER: Final = Signer(b"simulation")
_CLAIMS: Final = ClaimBuilder(CATALOGUE, _SIGNER, "https://ledger.example")


class Desk:
    """Claims, reports and webhooks."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def is_idle(self) -> bool:
        """Whether a pull would find nothing; it counts as one."""
        self._note_claims()
        return not self._ledger.tables.due_jobs(1)

    async def claim_due(self, most: int, worker: str) -> list[Claim]:
        """Up to `most` steps of what is due; what cannot be claimed is left out."""
        self._note_claims()
        claims = []
        for owner, generation_id in self._ledger.tables.due_jobs(most):
            try:
                claim = await self._claim(owner, generation_id, worker)
            except Rejected:
                continue
            if claim is not None:
                claims.append(claim)
        return claims

    async def claim(self, generation_id: str, worker: str) -> list[Claim]:
        """The next step of one generation."""
        self._note_claims()
        claim = await self._claim(self._owner(generation_id), generation_id, worker)
        return [claim] if claim else []

    async def report(self, generation_id: str, body: ReportRequest, worker: str) -> ReportReply:
        """What happened to a step."""
        command = ReportGeneration(
            owner=self._owner(generation_id),
            generation_id=generation_id,
            fence=body.fence,
            attempt_id=body.attempt_id,
            event=body.event,
            worker=worker,
        )
        private = None
        if isinstance(body.event, FailedReport) and body.event.message:
            private = {"message": body.event.message}
        reported = await self._do(command, private)
        assert isinstance(reported, Reported)
        claimed = reported.claimed
        next_claim = self._built(claimed) if claimed else None
        return ReportReply(accepted=reported.accepted, next_claim=next_claim)

    async def note_webhook(self, url: str, request_id: str) -> str:
        """A webhook at an address that we gave away; returns the generation's id."""
        generation_id, number, token = url.rsplit("/", 3)[1:]
        if not _SIGNER.is_genuine(token, WEBHOOK_PURPOSE, generation_id, int(number)):
            raise Rejected(ProblemCode.NOT_FOUND)
        owner = self._owner(generation_id)
        hint = HintGeneration(
            owner=owner, generation_id=generation_id, number=int(number), request_id=request_id
        )
        await self._ledger.submit(hint, "provider:fal")
        return generation_id

    async def _claim(self, owner: str, generation_id: str, worker: str) -> Claim | None:
        command = ClaimGeneration(owner=owner, generation_id=generation_id, worker=worker)
        claimed = await self._do(command)
        return self._built(claimed) if claimed is not None else None

    def _built(self, claimed: Claimed) -> Claim:
        state = claimed.state
        attempt = state.live_attempt
        assert attempt is not None
        content: dict[str, Any] = {}
        if claimed.step is Step.SUBMIT or attempt.request_id is None:
            content = content_of(self._ledger.tables, state.owner, state.private)["input"]
        return _CLAIMS.build(claimed, content)

    async def _do(self, command: GenerationCommand, private: dict[str, Any] | None = None) -> Any:
        done = await self._ledger.submit(command, "key:worker", private)
        return done.result

    def _owner(self, generation_id: str) -> str:
        owner = self._ledger.tables.owner_of(generation_id)
        if owner is None:
            raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
        return owner

    def _note_claims(self) -> None:
        self._ledger.tables.last_claim_at = self._ledger.tables.now()
