"""What really happened, for people and tests, and the switches. A loopback tool: it asks no key."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency

from deploy.emulators.fal import admin_page, outcomes
from deploy.emulators.fal.accounts import BALANCE_MAX_USD, Accounts
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.identities import user_id
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.outage import Outage, OutageMode
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.settings import Settings
from deploy.emulators.fal.submits import SubmitLog
from deploy.emulators.fal.webhooks import Courier
from deploy.emulators.fal.wire import Refusal, whole_number

JOBS_MAX: Final = 10_000
SHOWN_MAX: Final = 200
YEAR_SECONDS: Final = 366 * 24 * 3600
Seconds = Annotated[float, msgspec.Meta(ge=0, le=YEAR_SECONDS)]
_OWN_SITES: Final = ("none", "same-origin")
_FORM: Final = "application/x-www-form-urlencoded"
T = TypeVar("T", bound=msgspec.Struct)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that takes no fields."""


class ClockMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far to move the virtual clock."""

    advance_seconds: Seconds


class OutageStart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to be out, and how; 0 seconds end an outage."""

    seconds: Seconds
    mode: OutageMode = "refuse"


class BalanceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every key has from now on."""

    usd: Annotated[float, msgspec.Meta(ge=-BALANCE_MAX_USD, le=BALANCE_MAX_USD)]


@get("/admin/jobs")
async def jobs(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    courier: NamedDependency[Courier],
    submits: NamedDependency[SubmitLog],
) -> dict[str, Any]:
    """Every accepted submit, newest first: two for one attempt are a double submit."""
    limit = min(whole_number(request.query_params, "limit", JOBS_MAX), JOBS_MAX)
    return {"items": _items(queue, courier, submits, limit)}


@get("/admin/state")
async def state(
    queue: NamedDependency[JobQueue],
    courier: NamedDependency[Courier],
    submits: NamedDependency[SubmitLog],
    accounts: NamedDependency[Accounts],
    clock: NamedDependency[Clock],
    outage: NamedDependency[Outage],
    settings: NamedDependency[Settings],
) -> dict[str, Any]:
    """All that the page shows, as JSON."""
    queue.advance(clock.now())
    ends_at = outage.ends_at()
    return {
        "clock": {
            "kind": "virtual" if clock.is_virtual else "real",
            "now": outcomes.iso(clock.now()),
        },
        "outage": ends_at and {"mode": outage.mode(), "ends_at": outcomes.iso(ends_at)},
        "chaos": settings.chaos,
        "assumptions": settings.assumptions,
        "accounts": [
            {"user_id": user_id(account.pop("owner")), **account} for account in accounts.summary()
        ],
        "submits": submits.counts() | {"newest": _submits(submits)},
        "jobs": _items(queue, courier, submits, SHOWN_MAX),
    }


def _submits(submits: SubmitLog) -> list[dict[str, Any]]:
    return [row | {"at": outcomes.iso(row["at"])} for row in submits.newest(SHOWN_MAX)]


def _items(
    queue: JobQueue, courier: Courier, submits: SubmitLog, limit: int
) -> list[dict[str, Any]]:
    same_tags, same_generation = submits.repeated_tags(), submits.repeated_generations()
    items = []
    for job in queue.newest(limit):
        item = _item(job, courier)
        tags = msgspec.json.encode(job.tags).decode()
        item["with_same_tags"] = same_tags.get(tags, 1)
        item["of_same_generation"] = same_generation.get(job.tags.get("generation", ""), 1)
        items.append(item)
    return items


def _item(job: Job, courier: Courier) -> dict[str, Any]:
    kept = not job.payloads_deleted
    return {
        "request_id": job.request_id,
        "gateway_request_id": job.gateway_request_id,
        "endpoint": job.endpoint,
        "user_id": user_id(job.owner),
        "tags": job.tags,
        "prompt": job.prompt if kept else None,
        "input": job.input if kept else None,
        "headers": job.headers,
        "chaos": job.chaos,
        "status": job.status,
        "error_type": job.error_type,
        "billed": job.billable_units > 0,
        "billable_units": job.billable_units,
        "answered": job.answered,
        "cancel_requested": job.cancel_requested,
        "submitted_at": outcomes.iso(job.submitted_at),
        "ended_at": outcomes.iso(job.ended_at) if job.ended_at else None,
        "webhooks": courier.summary(job.request_id),
    }


@post("/admin/reset", status_code=200)
async def reset(request: Request[Any, Any, Any], queue: NamedDependency[JobQueue]) -> Response[Any]:
    """Forget every job; the signing key, the clock and an outage stay."""
    await _read(request, Nothing)
    queue.reset()
    return _done(request, {"status": "ok"})


@post("/admin/clock", status_code=200)
async def move_clock(
    request: Request[Any, Any, Any],
    clock: NamedDependency[Clock],
    queue: NamedDependency[JobQueue],
) -> Response[Any]:
    """Move the virtual clock; all that falls due meanwhile has happened when this answers."""
    move = await _read(request, ClockMove)
    if not clock.is_virtual:
        raise Refusal(409, {"detail": "the clock is real: start with --clock virtual"})
    clock.advance(move.advance_seconds)
    queue.advance(clock.now())
    queue.changed.set()
    return _done(request, {"now": outcomes.iso(clock.now())})


@post("/admin/outage", status_code=200)
async def start_outage(
    request: Request[Any, Any, Any],
    outage: NamedDependency[Outage],
    queue: NamedDependency[JobQueue],
) -> Response[Any]:
    """Answer nobody for some seconds; the admin pages and /health are spared."""
    start = await _read(request, OutageStart)
    outage.begin(start.seconds, start.mode)
    queue.changed.set()
    ends_at = outage.ends_at()
    return _done(request, {"ends_at": outcomes.iso(ends_at) if ends_at else None})


@post("/admin/balance", status_code=200)
async def set_balance(
    request: Request[Any, Any, Any], accounts: NamedDependency[Accounts]
) -> Response[Any]:
    """Give every key a new prepaid balance; 0 locks all of them out."""
    change = await _read(request, BalanceChange)
    accounts.refill(change.usd)
    return _done(request, {"balance_usd": change.usd})


async def _read(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """The call's fields, from its query, a form or a JSON object; a `Refusal` 422 for nonsense."""
    if request.headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        raise Refusal(403, {"detail": "another site's page may not do this"})
    fields: dict[str, Any] = dict(request.query_params)
    body = await request.body()
    try:
        if _is_form(request):
            form: Mapping[str, Any] = await request.form()
            fields |= dict(form)
        elif body:
            fields |= msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert(fields, kind, strict=False)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, {"detail": str(error)}) from error


def _is_form(request: Request[Any, Any, Any]) -> bool:
    return request.headers.get("content-type", "").startswith(_FORM)


def _done(request: Request[Any, Any, Any], body: dict[str, Any]) -> Response[Any]:
    """JSON for programs; a browser goes back to the page that its form was on."""
    if _is_form(request):
        return Response(b"", status_code=303, headers={"location": "/admin"})
    return Response(body, status_code=200)


@get("/admin", media_type=MediaType.HTML)
async def page(
    queue: NamedDependency[JobQueue],
    courier: NamedDependency[Courier],
    submits: NamedDependency[SubmitLog],
    accounts: NamedDependency[Accounts],
    clock: NamedDependency[Clock],
    outage: NamedDependency[Outage],
    settings: NamedDependency[Settings],
) -> str:
    """The state as a page, with its switches, and every directive with its meaning."""
    told = await state.fn(queue, courier, submits, accounts, clock, outage, settings)
    return admin_page.render(told)


@get("/health")
async def health() -> dict[str, str]:
    """Answers once requests are served."""
    return {"status": "ok"}
