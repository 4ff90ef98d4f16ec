"""The platform API: past requests and their payloads; and the keys of webhook signatures."""

from typing import Any

from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from deploy.emulators.fal import media, outcomes
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.sealing import Signer
from deploy.emulators.fal.wire import (
    MAX_LIMIT,
    Refusal,
    asked_endpoints,
    instant,
    origin_of,
    whole_number,
)


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
    endpoints = asked_endpoints(request, at_least=1)
    now = queue.now()
    queue.advance(now)
    span = instant(query.get("start"), 0.0), instant(query.get("end"), now + 1)
    limit = min(whole_number(query, "limit", 50), MAX_LIMIT)
    offset = whole_number(query, "cursor", 0)
    tags = _wanted_tags(query.getall("tags", []), queue)
    jobs = queue.by_endpoint(owner, endpoints, span, (limit + 1, offset), tags)
    expand = "payloads" in query.getall("expand", [])
    more = len(jobs) > limit
    return {
        "items": [_item(job, origin_of(request), expand) for job in jobs[:limit]],
        "has_more": more,
        "next_cursor": str(offset + limit) if more else None,
    }


def _wanted_tags(given: list[str], queue: JobQueue) -> dict[str, str]:
    """Tags to filter by, written ``NAME=VALUE``, where that is assumed to work."""
    pairs = (text.partition("=") for text in given if queue.assumptions.tag_filter == "honoured")
    return {name: value for name, _, value in pairs}


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
        kept = job.stores_io and not job.payloads_deleted
        item["json_input"] = job.input if kept else None
        item["json_output"] = answer.body if answer and kept else None
    return item


@delete("/v1/models/requests/{request_id:str}/payloads", status_code=200)
async def delete_payloads(
    request: Request[Any, Any, Any],
    request_id: FromPath[str],
    queue: NamedDependency[JobQueue],
    admin: NamedDependency[str],
) -> dict[str, Any]:
    """Delete a request's input, output and media. Repeating it gives the same answer."""
    queue.advance(queue.now())
    job = queue.peek(request_id)
    if job is None or job.owner != admin:
        raise Refusal(404, {"detail": "Request not found"})
    if job.status != "COMPLETED":
        raise Refusal(400, {"detail": "Request is still in progress", "error_type": "bad_request"})
    queue.delete_payloads(job)
    produced = media.files(job) if job.error_type is None else []
    links = [f"{origin_of(request)}/files/{request_id}/{file.name}" for file in produced]
    return {"cdn_delete_results": [{"link": link, "exception": None} for link in links]}


@get("/v1/meta")
async def meta(owner: NamedDependency[str]) -> dict[str, Any]:
    """Where webhooks come from: this machine."""
    assert owner
    return {"webhook_ip_ranges": ["127.0.0.0/8", "::1/128"]}


@get("/.well-known/jwks.json")
async def jwks(signer: NamedDependency[Signer]) -> dict[str, Any]:
    """The public keys of webhook signatures."""
    return signer.jwks()
