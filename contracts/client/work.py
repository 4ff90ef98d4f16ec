"""The calls of the job worker: claim a step, report what happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from contracts.api.batches import BatchResult
from contracts.client.errors import LedgerError, LedgerRejected, LedgerUnavailable
from contracts.client.transport import CONNECTIONS_MAX, Client, failure_of, segment
from contracts.forgetting import (
    Forgetting,
    ForgettingReply,
    ForgettingReport,
    ForgettingsReply,
    UnforgottenReply,
)
from contracts.jobs import (
    Claim,
    ClaimsReply,
    ClaimsRequest,
    ReportReply,
    ReportRequest,
    ReportsReply,
    ReportsRequest,
    StepReport,
    WorkModel,
    WorkModelsReply,
)
from contracts.limits import PAGE_LIMIT_MAX
from contracts.presence import Pause, PresenceReply, PresenceRequest
from contracts.reconciling import (
    ReconciliationClaim,
    ReconciliationClaimReply,
    ReconciliationClaimRequest,
    ReconciliationReportReply,
    ReconciliationReportRequest,
)

_REPORTS: Final = "/v1/work/reports"


class WorkClient(Client):
    """Needs a key with the scope `work`. `worker` names the process in the ledger's records."""

    def __init__(
        self, base_url: str, api_key: str, *, worker: str, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        super().__init__(base_url, api_key, connections_max=connections_max)
        self.worker = worker

    async def claim_due(self, most: int) -> tuple[Claim, ...]:
        """Claim up to `most` steps of whatever is due; empty when nothing is.

        Never repeated: a claim whose answer was lost runs out by itself.
        """
        request = ClaimsRequest(worker=self.worker, max=most)
        reply = await self._transport.call("POST", "/v1/work/claims", ClaimsReply, body=request)
        return reply.claims

    async def claim(self, generation_id: str) -> tuple[Claim, ...]:
        """Claim the next step of one generation; `LedgerRejected` `not_due` when there is none."""
        request = ClaimsRequest(worker=self.worker)
        path = f"/v1/generations/{segment(generation_id)}/claims"
        reply = await self._transport.call("POST", path, ClaimsReply, body=request)
        return reply.claims

    async def report(self, generation_id: str, report: ReportRequest) -> ReportReply:
        """Report a step; `LedgerRejected` `stale_fence` when the claim is no longer ours.

        Repeated after a lost answer: the ledger takes each fact once.
        """
        path = f"/v1/generations/{segment(generation_id)}/reports"
        return await self._transport.call("POST", path, ReportReply, body=report, repeatable=True)

    async def claim_each(self, generation_ids: Sequence[str]) -> tuple[Claim, ...]:
        """Claim the next step of each of these generations that is due; never repeated either."""
        ids = tuple(generation_ids)
        request = ClaimsRequest(worker=self.worker, max=len(ids), generations=ids)
        reply = await self._transport.call("POST", "/v1/work/claims", ClaimsReply, body=request)
        return reply.claims

    async def report_each(self, reports: Sequence[StepReport]) -> list[ReportReply | LedgerError]:
        """Report many steps; what `report` would return or raise of each, in their order.

        Raises `LedgerUnavailable` when there is no answer at all.
        """
        request = ReportsRequest(reports=tuple(reports))
        try:
            reply = await self._transport.call(
                "POST", _REPORTS, ReportsReply, body=request, repeatable=True
            )
        except LedgerRejected as error:
            if error.status not in {404, 405}:
                raise
            # An older ledger, beside one that gave the claims: no word about what is reported.
            raise LedgerUnavailable(error.operation, "unknown_route", not_applied=True) from None
        if len(reply.results) != len(reports):
            raise LedgerUnavailable(f"POST {_REPORTS}", "unreadable")
        return [_result(result) for result in reply.results]

    async def say_present(self, told: PresenceRequest) -> tuple[Pause, ...]:
        """Say that this process is there; pauses that its peers have found."""
        reply = await self._transport.call("POST", "/v1/work/presence", PresenceReply, body=told)
        return reply.pauses

    async def claim_reconciliation(self) -> ReconciliationClaim | None:
        """A day to compare; None when there is none. Never repeated, as above."""
        request = ReconciliationClaimRequest(worker=self.worker)
        path = "/v1/work/reconciliations"
        reply = await self._transport.call("POST", path, ReconciliationClaimReply, body=request)
        return reply.claim

    async def report_reconciliation(self, report: ReconciliationReportRequest) -> None:
        """Report on a day, or renew its lease; `LedgerRejected` `stale_fence` when it is somebody
        else's by now."""
        path = "/v1/work/reconciliations/reports"
        await self._transport.call(
            "POST", path, ReconciliationReportReply, body=report, repeatable=True
        )

    async def models(self) -> tuple[WorkModel, ...]:
        """Who makes what: every model of the catalogue, with its provider and endpoint."""
        reply = await self._transport.call("GET", "/v1/work/models", WorkModelsReply)
        return reply.items

    async def claim_forgettings(self, most: int) -> tuple[Forgetting, ...]:
        """Claim up to `most` generations whose payloads are to go at their providers."""
        request = ClaimsRequest(worker=self.worker, max=most)
        path = "/v1/work/forgettings"
        return (await self._transport.call("POST", path, ForgettingsReply, body=request)).items

    async def report_forgetting(
        self, generation_id: str, report: ForgettingReport
    ) -> ForgettingReply:
        """Say how it went; repeated after a lost answer."""
        path = f"/v1/work/forgettings/{segment(generation_id)}"
        return await self._transport.call(
            "POST", path, ForgettingReply, body=report, repeatable=True
        )

    async def unforgotten(self, since: datetime, until: datetime) -> UnforgottenReply:
        """What was given up from `since` on and before `until`."""
        window = {"since": since.isoformat(), "until": until.isoformat()}
        query = {**window, "limit": str(PAGE_LIMIT_MAX)}
        path = "/v1/work/forgettings"
        return await self._transport.call("GET", path, UnforgottenReply, query=query)


def _result(result: BatchResult) -> ReportReply | LedgerError:
    content = bytes(result.body)
    if result.status != 200:
        return failure_of(f"POST {_REPORTS}", result.status, content)
    try:
        return msgspec.json.decode(content, type=ReportReply)
    except (msgspec.MsgspecError, RecursionError):
        return LedgerUnavailable(f"POST {_REPORTS}", "unreadable")
