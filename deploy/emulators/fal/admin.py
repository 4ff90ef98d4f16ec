"""What really happened, for people and tests. A loopback tool: it asks for no key."""

from html import escape
from typing import Any

from litestar import MediaType, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.directives import KNOWN
from deploy.emulators.fal.identities import user_id
from deploy.emulators.fal.jobs import Job, JobQueue
from deploy.emulators.fal.webhooks import Courier

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>fal emulator</title>
<style>body{{font:15px/1.5 system-ui;margin:2rem}}td,th{{padding:.2rem .8rem .2rem 0;
text-align:left;vertical-align:top}}th{{border-bottom:1px solid #999}}</style>
<h1>fal emulator</h1><h2>Accepted submits, newest first</h2>
<table><tr><th>request<th>endpoint<th>status<th>error<th>billed<th>answered<th>tags<th>prompt</tr>
{jobs}</table><h2>Directives for prompts</h2><table>{directives}</table></html>"""


@get("/admin/jobs")
async def jobs(
    queue: NamedDependency[JobQueue],
    courier: NamedDependency[Courier],
    limit: FromQuery[int] = 10_000,
) -> dict[str, Any]:
    """Every accepted submit, newest first: two for one attempt are a double submit."""
    return {"items": [_item(job, courier) for job in queue.newest(limit)]}


def _item(job: Job, courier: Courier) -> dict[str, Any]:
    return {
        "request_id": job.request_id,
        "endpoint": job.endpoint,
        "user_id": user_id(job.owner),
        "tags": job.tags,
        "prompt": job.prompt,
        "input": job.input,
        "headers": job.headers,
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
async def reset(queue: NamedDependency[JobQueue]) -> dict[str, str]:
    """Forget every job; the signing key stays."""
    queue.reset()
    return {"status": "ok"}


@get("/admin", media_type=MediaType.HTML)
async def page(queue: NamedDependency[JobQueue]) -> str:
    """The same as a table, and every directive with its meaning."""
    known = (f"<tr><td><code>[[fal:{k}]]</code><td>{escape(v)}" for k, v in KNOWN.items())
    return _PAGE.format(
        jobs="\n".join(_row(job) for job in queue.newest(200)), directives="\n".join(known)
    )


def _row(job: Job) -> str:
    tags = ", ".join(f"{name}={value}" for name, value in job.tags.items())
    answered, billed = ("yes" if fact else "no" for fact in (job.answered, job.billable_units))
    cells = (job.request_id, job.endpoint, job.status, job.error_type or "", billed, answered)
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in (*cells, tags, job.prompt))


@get("/health")
async def health() -> dict[str, str]:
    """Answers once requests are served."""
    return {"status": "ok"}
