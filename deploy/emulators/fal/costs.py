"""The platform API's side of money: prices, estimates, usage, what is left."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.identities import user_id
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.prices import MICROS_PER_USD, price_of
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.wire import MAX_ENDPOINTS, Refusal, asked_endpoints, instant, page_of

DAY_SECONDS: Final = 24 * 3600.0
TIMEFRAMES: Final = ("minute", "hour", "day", "week", "month")


Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Quantity(msgspec.Struct, frozen=True):
    """How much of one endpoint: calls, or units of what it bills by."""

    call_quantity: Amount | None = None
    unit_quantity: Amount | None = None


class Estimate(msgspec.Struct, frozen=True):
    """What somebody wants to know the cost of."""

    estimate_type: Literal["historical_api_price", "unit_price"]
    endpoints: dict[str, Quantity]


@get("/v1/models/pricing")
async def pricing(request: Request[Any, Any, Any], owner: NamedDependency[str]) -> dict[str, Any]:
    """The unit prices of up to fifty endpoints."""
    assert owner
    endpoints = asked_endpoints(request, at_least=1)
    prices = [price_of(endpoint).description(endpoint) for endpoint in endpoints]
    return {"prices": prices, "has_more": False, "next_cursor": None}


@post("/v1/models/pricing/estimate", status_code=200)
async def estimate(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, Any]:
    """What so many units cost, or so many calls at what the caller's past ones cost on average."""
    try:
        asked = msgspec.json.decode(await request.body(), type=Estimate)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, {"detail": str(error)}) from error
    if not 1 <= len(asked.endpoints) <= MAX_ENDPOINTS:
        raise Refusal(422, {"detail": f"1 to {MAX_ENDPOINTS} endpoints are required"})
    by_units = asked.estimate_type == "unit_price"
    micros = 0.0
    for endpoint, quantity in asked.endpoints.items():
        number = quantity.unit_quantity if by_units else quantity.call_quantity
        if number is None:
            name = "unit_quantity" if by_units else "call_quantity"
            raise Refusal(422, {"detail": f"{endpoint} needs a {name}"})
        past = [] if by_units else queue.billed(owner, (0.0, math.inf), [endpoint])
        units = sum(job.billable_units for job in past) / len(past) if past else 1
        micros += number * units * price_of(endpoint).micros
    total = round(micros) / MICROS_PER_USD
    return {"estimate_type": asked.estimate_type, "total_cost": total, "currency": "USD"}


@get("/v1/models/usage")
async def usage(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    admin: NamedDependency[str],
) -> dict[str, Any]:
    """What was billed from ``start`` to ``end`` (the last day), in ``timeframe``s and in all."""
    query = request.query_params
    queue.advance(queue.now())
    timeframe = query.get("timeframe", "day")
    if timeframe not in TIMEFRAMES:
        raise Refusal(422, {"detail": f"timeframe is one of {', '.join(TIMEFRAMES)}"})
    zone = _zone(query.get("timezone", "UTC"))
    end = instant(query.get("end"), queue.now() + 1)
    start = instant(query.get("start"), end - DAY_SECONDS)
    if query.get("bound_to_timeframe", "true") != "false":
        start = _begin(start, timeframe, zone).timestamp()
        end = _following(_begin(end - 1e-3, timeframe, zone), timeframe).timestamp()
    jobs = queue.billed(admin, (start, end), asked_endpoints(request, at_least=0))
    expand = {part for text in query.getall("expand", ["time_series"]) for part in text.split(",")}
    label = user_id(admin) if "auth_method" in expand else None
    buckets: dict[str, list[Job]] = {}
    for job in jobs:
        assert job.ended_at is not None
        buckets.setdefault(_begin(job.ended_at, timeframe, zone).isoformat(), []).append(job)
    series, rest = page_of(sorted(buckets), query)
    told: dict[str, Any] = dict(rest)
    if "time_series" in expand:
        told["time_series"] = [
            {"bucket": bucket, "results": list(_lines(buckets[bucket], label))} for bucket in series
        ]
    if "summary" in expand:
        told["summary"] = list(_lines(jobs, label))
    return told


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refusal(422, {"detail": f"not a time zone: {name}"}) from error


def _begin(at: float, timeframe: str, zone: tzinfo) -> datetime:
    """The beginning of the stretch of time that an instant lies in."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone).replace(second=0, microsecond=0)
    if timeframe != "minute":
        moment = moment.replace(minute=0)
    if timeframe in ("day", "week", "month"):
        moment = moment.replace(hour=0)
    if timeframe == "week":
        moment -= timedelta(days=moment.weekday())
    return moment.replace(day=1) if timeframe == "month" else moment


def _following(begin: datetime, timeframe: str) -> datetime:
    if timeframe == "month":
        return (begin + timedelta(days=32)).replace(day=1)
    return begin + timedelta(**{f"{timeframe}s": 1})


def _lines(jobs: Iterable[Job], label: str | None) -> Iterable[dict[str, Any]]:
    """One line for each endpoint."""
    units: dict[str, int] = {}
    for job in jobs:
        units[job.endpoint] = units.get(job.endpoint, 0) + job.billable_units
    for endpoint, quantity in sorted(units.items()):
        price = price_of(endpoint)
        line = price.description(endpoint) | {
            "quantity": quantity,
            "cost": quantity * price.micros / MICROS_PER_USD,
        }
        yield line | ({} if label is None else {"auth_method": label})


@get("/v1/account/billing")
async def billing(
    request: Request[Any, Any, Any],
    accounts: NamedDependency[Accounts],
    queue: NamedDependency[JobQueue],
    admin: NamedDependency[str],
) -> dict[str, Any]:
    """Whose key it is and, with ``expand=credits``, what is left of what was prepaid."""
    queue.advance(queue.now())
    body: dict[str, Any] = {"username": user_id(admin)}
    if "credits" in request.query_params.getall("expand", []):
        balance_usd = accounts.balance_usd(admin)
        body["credits"] = {"current_balance": balance_usd, "currency": "USD"}
    return body
