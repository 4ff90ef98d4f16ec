"""The queue protocol: submit, status, stream, result, cancel, for any ``owner/app[/path]``.

Every URL of a request holds ``owner/app`` alone, as at fal; the full path is tolerated on the way
in. A request id is its submitter's: to every other key it does not exist.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post, put
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.response import Stream

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.addresses import Address, parse_address
from deploy.emulators.fal.admission import Admitted, admit
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.directives import Directives
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.submits import SubmitLog
from deploy.emulators.fal.webhooks import Courier
from deploy.emulators.fal.wire import (
    Refusal,
    cut,
    origin_of,
    respond,
    until_client_leaves,
    whole_number,
)

MAX_BODY_BYTES: Final = 1 << 20
_STREAM_PAUSE_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.02
_NOT_FOUND: Final = {"status": "NOT_FOUND"}
_STATUS_STUMBLES: Final = {
    "status-404": outcomes.Answer(status_code=404, body=_NOT_FOUND),
    "status-500": outcomes.failure("internal_error", None, {}),
    "status-502": outcomes.gateway_failure(),
}
_RESULT_STUMBLES: Final = {
    "result-500": outcomes.failure("internal_error", None, {}),
    "result-502": outcomes.gateway_failure(),
}


@post("/{address:path}", status_code=200)
async def submit(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    courier: NamedDependency[Courier],
    submits: NamedDependency[SubmitLog],
    accounts: NamedDependency[Accounts],
    clock: NamedDependency[Clock],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Accept a job and answer with its URLs, unless the prompt or chaos asks for a worse answer."""
    address = parse_address(request.scope["path"])
    if address.action != "submit":
        raise Refusal(405, {"detail": "Method Not Allowed"})
    full = partial(_full_queue, request, queue, address.endpoint)
    admitted = await admit(request, address, queue, submits, accounts, owner, full)
    if not isinstance(admitted, Admitted):
        return admitted
    job, asked = admitted.job, admitted.asked
    while "webhook-first" in asked and courier.has_untried(job.request_id):
        if await is_left_within(_LOOK_SECONDS, request):
            return Response(None, status_code=504)  # nobody is left to read it
    return await _answer_submit(request, queue, job, asked, clock)


async def is_left_within(seconds: float, request: Request[Any, Any, Any]) -> bool:
    """Wait this long, or until the client has gone."""
    with suppress(TimeoutError):
        await asyncio.wait_for(until_client_leaves(request), seconds)
        return True
    return False


async def _answer_submit(
    request: Request[Any, Any, Any], queue: JobQueue, job: Job, asked: Directives, clock: Clock
) -> Response[Any]:
    if "lost-submit" in asked:
        await until_client_leaves(request)
        return Response(None, status_code=504)
    if "reset-submit" in asked:
        await cut(request)
        return Response(None, status_code=504)
    if "slow-submit" in asked and not await _is_patient(
        request, clock, clock.now() + asked.number("slow-submit", 0)
    ):
        return Response(None, status_code=504)  # nobody is left to read it
    body: dict[str, Any] = {"request_id": job.request_id}
    if "no-urls" not in asked:
        body |= {
            "status": "IN_QUEUE",
            "gateway_request_id": job.gateway_request_id,
            **outcomes.urls(job, origin_of(request)),
            "queue_position": queue.position(job),
            "logs": None,
        }
    encoded = msgspec.json.encode(body)

    async def note_answer() -> None:
        queue.mark_answered(job.request_id)

    return Response(
        encoded[: len(encoded) // 2] if "half-submit" in asked else encoded,
        media_type="application/json",
        headers={"x-fal-request-id": job.request_id},
        background=BackgroundTask(note_answer),
    )


async def _is_patient(request: Request[Any, Any, Any], clock: Clock, until: float) -> bool:
    """Wait until then; False when the client leaves before."""
    while clock.now() < until:
        if await is_left_within(clock.pause_seconds(until), request):
            return False
    return True


def _full_queue(
    request: Request[Any, Any, Any], queue: JobQueue, endpoint: str
) -> outcomes.Answer | None:
    limit = whole_number(request.query_params, "fal_max_queue_length", 2**31)
    if queue.waiting(endpoint) < limit:
        return None
    body = {"detail": "The queue is full.", "error_type": "queue_full"}
    return outcomes.Answer(status_code=429, body=body)


@get("/{address:path}")
async def read(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Status, stream of statuses, or result of a request."""
    address = parse_address(request.scope["path"])
    job = _find(address, queue, owner)
    if address.action == "status":
        answer = _stumble(_STATUS_STUMBLES, queue, job) or _status(request, queue, job)
        response = respond(answer)
    elif address.action == "stream":
        response = Stream(_statuses(request, queue, job), media_type="text/event-stream")
    elif address.action == "result":
        response = respond(result_of(request, queue, job))
    else:
        raise Refusal(405, {"detail": "Method Not Allowed"})
    response.set_header("x-fal-request-id", job.request_id)
    return response


def _find(address: Address, queue: JobQueue, owner: str) -> Job:
    now = queue.now()
    queue.advance(now)
    job = queue.find(address.request_id, now)
    if job is None or job.owner != owner or job.app != address.app:
        raise _nothing_there(address, queue, owner)
    return job


def _nothing_there(address: Address, queue: JobQueue, owner: str) -> Refusal:
    """What is said of a request that cannot be read: an own one that has expired may be known."""
    job = queue.peek(address.request_id)
    if job is None or job.owner != owner or job.app != address.app or queue.is_gone(job):
        return Refusal(404, _NOT_FOUND)
    if queue.assumptions.expired == "410":
        return Refusal(410, {"detail": "Request has expired"})
    return Refusal(404, _NOT_FOUND)


def _status(request: Request[Any, Any, Any], queue: JobQueue, job: Job) -> outcomes.Answer:
    with_logs = request.query_params.get("logs", "0").lower() in ("1", "true")
    position = queue.position(job)
    return outcomes.status(job, origin_of(request), position, with_logs, queue.now())


async def _statuses(
    request: Request[Any, Any, Any], queue: JobQueue, job: Job
) -> AsyncIterator[bytes]:
    """Server-sent events: each status as it changes, the last one being COMPLETED."""
    last = b""
    while True:
        queue.advance(queue.now())
        found = queue.peek(job.request_id)
        if found is None:
            return  # everything was reset meanwhile
        current = msgspec.json.encode(_status(request, queue, found).body)
        if current != last:
            yield b"data: " + current + b"\n\n"
            last = current
        if found.status == "COMPLETED":
            return
        await asyncio.sleep(_STREAM_PAUSE_SECONDS)


def result_of(request: Request[Any, Any, Any], queue: JobQueue, job: Job) -> outcomes.Answer:
    """The answer to somebody who asks for a job's result now; a `Refusal` where there is none."""
    if job.status != "COMPLETED":
        early = queue.assumptions.early_result
        if early == "202":
            return _status(request, queue, job)
        too_early = {"detail": "Request is still in progress", "error_type": "bad_request"}
        raise Refusal(int(early), _NOT_FOUND if early == "404" else too_early)
    if job.payloads_deleted:
        raise Refusal(404, _NOT_FOUND)
    stumble = _stumble(_RESULT_STUMBLES, queue, job)
    if stumble is not None:
        return stumble
    answer = outcomes.result(job, origin_of(request))
    if queue.withholds(job, "half-result"):
        whole = msgspec.json.encode(answer.body)
        return msgspec.structs.replace(answer, body=whole[: len(whole) // 2])
    return answer


def _stumble(
    ways: Mapping[str, outcomes.Answer], queue: JobQueue, job: Job
) -> outcomes.Answer | None:
    """The answer in place of the true one, as often as the directive says."""
    for name, answer in ways.items():
        if queue.withholds(job, name):
            return answer
    return None


@put("/{address:path}", status_code=202)
async def cancel(
    request: Request[Any, Any, Any],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> Response[Any]:
    """Ask a job to stop. Accepted does not mean stopped: its result tells."""
    address = parse_address(request.scope["path"])
    job = _find(address, queue, owner)
    if address.action != "cancel":
        raise Refusal(405, {"detail": "Method Not Allowed"})
    if not queue.cancel(job, queue.now()):
        raise Refusal(400, {"status": "ALREADY_COMPLETED"})
    return Response(
        {"status": "CANCELLATION_REQUESTED"},
        status_code=202,
        headers={"x-fal-request-id": job.request_id},
    )
