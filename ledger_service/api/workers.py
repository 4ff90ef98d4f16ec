"""What the processes of workers say beside their steps: that they are there, and what the daily
comparison found."""

import logging
from typing import Final

from litestar import Controller

from contracts.api.keys import Scope
from contracts.presence import PresenceReply, PresenceRequest
from contracts.problems import ProblemCode
from contracts.reconciling import (
    ReconciliationClaimReply,
    ReconciliationClaimRequest,
    ReconciliationReportReply,
    ReconciliationReportRequest,
    Report,
)
from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.errors import Rejected
from ledger_service.store.pool import Connection
from ledger_service.store.reconciliations import (
    LEASE,
    claim_day,
    give_day_up,
    keep_report,
    renew_day,
)

log: Final = logging.getLogger(__name__)


class WorkersController(Controller):
    """`/v1/work/presence` and `/v1/work/reconciliations`."""

    path = "/v1/work"
    tags = ("Work",)

    @post(
        "/presence",
        scope=Scope.WORK,
        reply=PresenceReply,
        summary="Say that a worker is there",
        example={
            "worker": "worker-1",
            "carried": 3,
            "places": 32,
            "providers": [{"name": "fal", "state": "closed"}],
        },
    )
    async def note_presence(self, call: Call, body: PresenceRequest) -> HttpReply:
        """How it stands with its providers; and what its peers have found of them meanwhile. Who
        says nothing for a minute is gone."""
        return json_reply(PresenceReply(pauses=await call.services.generations.roster.tell(body)))

    @post(
        "/reconciliations",
        scope=Scope.WORK,
        reply=ReconciliationClaimReply,
        summary="Claim a day to compare",
        example={"worker": "worker-1"},
    )
    async def claim_reconciliation(self, call: Call, body: ReconciliationClaimRequest) -> HttpReply:
        """A day, in UTC, whose comparison nobody has made or is making; mostly none. It is this
        process's while it renews its lease."""
        claim = await call.services.pool.write(
            lambda connection: claim_day(connection, body.worker)
        )
        return json_reply(ReconciliationClaimReply(claim=claim))

    @post(
        "/reconciliations/reports",
        scope=Scope.WORK,
        reply=ReconciliationReportReply,
        summary="Report on a day that was compared",
        problems=(ProblemCode.STALE_FENCE,),
        example={"day": "2030-01-31", "fence": 1, "trouble": "the storage could not be read"},
    )
    async def report_reconciliation(
        self, call: Call, body: ReconciliationReportRequest
    ) -> HttpReply:
        """The report, or why there is none: then the day is handed out again a little later. With
        neither, the lease begins anew. Each day keeps its first report; repeats are harmless."""
        if body.report is not None and body.trouble is not None:
            raise fault("/trouble", "a report and a trouble exclude each other")
        if not await call.services.pool.write(lambda connection: _take(connection, body)):
            raise Rejected(ProblemCode.STALE_FENCE)
        if body.report is not None:
            _tell(body, body.report)
        is_done = body.report is not None or body.trouble is not None
        lease_seconds = None if is_done else LEASE.total_seconds()
        return json_reply(ReconciliationReportReply(lease_seconds=lease_seconds))


async def _take(connection: Connection, body: ReconciliationReportRequest) -> bool:
    """Whether the day is still the reporter's."""
    if body.report is not None:
        return await keep_report(connection, body.day, body.fence, body.report)
    if body.trouble is not None:
        return await give_day_up(connection, body.day, body.fence, body.trouble)
    return await renew_day(connection, body.day, body.fence)


def _tell(body: ReconciliationReportRequest, report: Report) -> None:
    found = ", ".join(f"{finding.count} {finding.drift}" for finding in report.findings)
    if found:
        log.warning("ledger, provider and storage disagree on %s: %s", body.day, found)
    else:
        log.info("ledger, provider and storage agree on %s", body.day)
