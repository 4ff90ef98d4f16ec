"""The platform API's look-up of past requests, and the key set that webhooks are signed with."""

import time
from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, get
from litestar.di import NamedDependency

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.jobs import Job, JobQueue
from deploy.emulators.fal.sealing import Signer
from deploy.emulators.fal.wire import Refusal, origin_of

MAX_LIMIT: Final = 100


@get("/v1/models/requests/by-endpoint")
async def by_endpoint(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, Any]:
    """The caller's own submits to ``endpoint_id``, newest first, running ones included.

    How a submit whose answer was lost is found again: by a value that only it has.
    """
    query = request.query_params
    endpoints = [part for text in query.getall("endpoint_id", []) for part in text.split(",")]
    if not endpoints:
        raise Refusal(422, {"detail": "endpoint_id is required"})
    now = time.time()
    queue.advance(now)
    span = _instant(query.get("start"), 0.0), _instant(query.get("end"), now + 1)
    limit = min(_number(query.get("limit"), 50), MAX_LIMIT)
    offset = _number(query.get("cursor"), 0)
    jobs = queue.by_endpoint(owner, endpoints, span, limit + 1, offset)
    expand = "payloads" in query.getall("expand", [])
    more = len(jobs) > limit
    return {
        "items": [_item(job, origin_of(request), expand) for job in jobs[:limit]],
        "has_more": more,
        "next_cursor": str(offset + limit) if more else None,
    }


def _item(job: Job, origin: str, expand: bool) -> dict[str, Any]:
    answer = outcomes.result(job, origin) if job.status == "COMPLETED" else None
    item: dict[str, Any] = {
        "request_id": job.request_id,
        "endpoint_id": job.endpoint,
        "sent_at": outcomes.iso(job.submitted_at),
        "started_at": outcomes.iso(job.started_at) if job.started_at else None,
        "ended_at": outcomes.iso(job.ended_at) if job.ended_at else None,
        "status_code": answer.status_code if answer else None,
        "tags": job.tags,
    }
    if expand:
        kept = job.stores_io
        item["json_input"] = job.input if kept else None
        item["json_output"] = answer.body if answer and kept else None
    return item


def _instant(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal(422, {"detail": f"not an ISO 8601 time: {text}"}) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.isdecimal():
        raise Refusal(422, {"detail": f"not a number: {text}"})
    return int(text)


@get("/v1/meta")
async def meta(owner: NamedDependency[str]) -> dict[str, Any]:
    """Where webhooks come from: this machine."""
    assert owner
    return {"webhook_ip_ranges": ["127.0.0.0/8", "::1/128"]}


@get("/.well-known/jwks.json")
async def jwks(signer: NamedDependency[Signer]) -> dict[str, Any]:
    """The public keys of webhook signatures."""
    return signer.jwks()
