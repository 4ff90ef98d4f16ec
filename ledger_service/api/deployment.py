"""What the operator of the deployment looks at: all tenants together, and no credits."""

from datetime import date
from typing import Final

from litestar import Controller

from contracts.api.health import Concern, Follower, HealthReply, WorkerHealth
from contracts.api.keys import Scope
from contracts.api.reconciliations import Reconciliation, ReconciliationsReply
from contracts.limits import PAGE_LIMIT_DEFAULT
from contracts.presence import BreakerState
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import PageLimit, Query
from ledger_service.generations.roster import provider_health
from ledger_service.store.figures import Figures
from ledger_service.store.reconciliations import list_days

NO_WORKER_SECONDS: Final = 30.0
"""As long as deadlines wait for a worker; see `overdue` of clockwork.sql."""
LATE_SECONDS: Final = 60.0
BEHIND_POSITIONS: Final = 10_000
UNRECONCILED_SECONDS: Final = 2 * 86_400.0
"""One comparison was missed, and the next one is due."""


class DaysQuery(Query, frozen=True, kw_only=True):
    """`before`: only days before this one."""

    before: date | None = None
    limit: PageLimit = PAGE_LIMIT_DEFAULT


class DeploymentController(Controller):
    """`/v1/health` and `/v1/reconciliations`."""

    path = "/v1"
    tags = ("Operating the service",)

    @get(
        "/health",
        scope=Scope.OPERATE,
        reply=HealthReply,
        summary="How is the deployment?",
    )
    async def read_health(self, call: Call) -> HttpReply:
        """What needs somebody's attention, and the figures behind it; at most 5 s old.

        A provider that takes nothing of us is a concern and makes no process unready: the ledger
        goes on, and generations wait, or are refunded.
        """
        return json_reply(health_of(await call.services.figures.read()))

    @get(
        "/reconciliations",
        scope=Scope.OPERATE,
        reply=ReconciliationsReply,
        summary="List daily comparisons",
    )
    async def list_reconciliations(self, call: Call, query: DaysQuery) -> HttpReply:
        """What ledger, provider and storage disagree about, day by day, newest first. A worker
        makes each of them once; one without a report is under way, or met trouble."""
        days = await call.services.pool.read(
            lambda connection: list_days(connection, query.before, query.limit)
        )
        items = tuple(Reconciliation(**day._asdict()) for day in days)
        return json_reply(ReconciliationsReply(items=items))


def health_of(figures: Figures) -> HealthReply:
    """The document."""
    reconciled = figures.reconciled
    findings = reconciled.report.findings if reconciled else ()
    return HealthReply(
        concerns=tuple(concern for concern, holds in concerns_of(figures).items() if holds),
        log_position=figures.log_position,
        followers=tuple(
            Follower(name=each.name, position=each.position, behind=each.head - each.position)
            for each in figures.followers
        ),
        clockwork_leads=figures.clockwork_leads,
        jobs=figures.jobs,
        due=figures.due,
        late_seconds=figures.late_seconds,
        claimed_seconds_ago=figures.claimed_seconds_ago,
        providers=provider_health(figures.workers),
        workers=tuple(
            WorkerHealth(
                worker=told.worker,
                seen_seconds_ago=age_seconds,
                carried=told.carried,
                places=told.places,
                providers=told.providers,
            )
            for age_seconds, told in figures.workers
        ),
        reconciled_day=reconciled.day if reconciled else None,
        drifts={finding.drift.value: finding.count for finding in findings},
    )


def concerns_of(figures: Figures) -> dict[Concern, bool]:
    """Each concern, and whether it holds. That nothing was ever compared is none: the comparison
    is a choice."""
    claimed, reconciled = figures.claimed_seconds_ago, figures.reconciled
    return {
        Concern.NO_WORKER: claimed is None or claimed > NO_WORKER_SECONDS,
        Concern.NO_CLOCKWORK: not figures.clockwork_leads,
        Concern.WORK_LATE: figures.late_seconds > LATE_SECONDS,
        Concern.FOLLOWER_BEHIND: any(
            each.head - each.position > BEHIND_POSITIONS for each in figures.followers
        ),
        Concern.PROVIDER_PAUSED: any(
            health.state is not BreakerState.CLOSED for health in provider_health(figures.workers)
        ),
        Concern.DRIFT: reconciled is not None and reconciled.report.drifts,
        Concern.NOT_RECONCILED: (
            reconciled is not None and reconciled.age_seconds > UNRECONCILED_SECONDS
        ),
    }
