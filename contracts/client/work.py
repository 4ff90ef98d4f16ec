"""The calls of the job worker: claim a step, report what happened."""

from __future__ import annotations

from contracts.client.transport import CONNECTIONS_MAX, Client, segment
from contracts.jobs import (
    Claim,
    ClaimsReply,
    ClaimsRequest,
    ReportReply,
    ReportRequest,
    WorkModel,
    WorkModelsReply,
)


class WorkClient(Client):
    """Needs a key with the scope `work`. `worker` names the process in the ledger's records."""

    def __init__(
        self, base_url: str, api_key: str, *, worker: str, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        super().__init__(base_url, api_key, connections_max=connections_max)
        self._worker = worker

    async def claim_due(self, most: int) -> tuple[Claim, ...]:
        """Claim up to `most` steps of whatever is due; empty when nothing is.

        Never repeated: a claim whose answer was lost runs out by itself.
        """
        request = ClaimsRequest(worker=self._worker, max=most)
        reply = await self._transport.call("POST", "/v1/work/claims", ClaimsReply, body=request)
        return reply.claims

    async def claim(self, generation_id: str) -> tuple[Claim, ...]:
        """Claim the next step of one generation; `LedgerRejected` `not_due` when there is none."""
        request = ClaimsRequest(worker=self._worker)
        path = f"/v1/generations/{segment(generation_id)}/claims"
        reply = await self._transport.call("POST", path, ClaimsReply, body=request)
        return reply.claims

    async def report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        """Report a step; `LedgerRejected` `stale_fence` when the claim is no longer ours.

        Repeated after a lost answer: the ledger takes each fact once.
        """
        path = f"/v1/generations/{segment(generation_id)}/reports"
        return await self._transport.call("POST", path, ReportReply, body=report, repeatable=True)

    async def models(self) -> tuple[WorkModel, ...]:
        """Who makes what: every model of the catalogue, with its provider and endpoint."""
        reply = await self._transport.call("GET", "/v1/work/models", WorkModelsReply)
        return reply.items
