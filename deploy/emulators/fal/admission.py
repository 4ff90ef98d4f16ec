"""What becomes of a submit before it is answered: a job, or a refusal that leaves none."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import msgspec
from litestar import Request, Response

from deploy.emulators.fal import directives, outcomes
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.addresses import Address
from deploy.emulators.fal.directives import Directives
from deploy.emulators.fal.errors import LOCKED, SUBMIT_REFUSALS, detail_item
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.records import Job, Submission
from deploy.emulators.fal.submits import SubmitLog
from deploy.emulators.fal.wire import Refusal, cut, origin_of, respond

_LOCKED: Final = outcomes.Answer(status_code=403, body=LOCKED)


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A submit that has become a job, and what its prompt or chaos asks for."""

    job: Job
    asked: Directives


async def admit(
    request: Request[Any, Any, Any],
    address: Address,
    queue: JobQueue,
    submits: SubmitLog,
    accounts: Accounts,
    owner: str,
    is_full: Callable[[], outcomes.Answer | None],
) -> Admitted | Response[Any]:
    """Make a request's body a job, or the refusal that it has earned."""
    given = decode_input(await request.body(), request.content_type[0])
    wished = _directives(given, "")
    submission = _submission(request, address, given, owner)
    now = queue.now()
    number, chaos = submits.begin(address.endpoint, submission.tags, now, spoil=not wished.given)
    submission = msgspec.structs.replace(submission, chaos=chaos)
    asked = _directives(given, chaos)
    queue.advance(now)
    locked = accounts.is_locked(owner) or _is_moderated(asked, queue)
    refusal = _refusal(asked, queue, submission, number) or (_LOCKED if locked else is_full())
    if refusal is not None:
        submits.refuse(number, refusal.status_code)
        return respond(refusal)
    if "drop-submit" in asked and _strikes("drop-submit", asked, queue, submission, number):
        await cut(request)
        return Response(None, status_code=504)
    job = queue.submit(submission, now)
    submits.accept(number, job.request_id)
    return Admitted(job=job, asked=asked)


def decode_input(body: bytes, media_type: str) -> dict[str, Any]:
    """A submit's body; a `Refusal` 422 when it is not one JSON object, or does not say that it is
    JSON."""
    if media_type != "application/json":
        item = detail_item(["body"], "Input should be a valid dictionary", "dict_type", None)
        raise Refusal(422, {"detail": [item]})
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        item = detail_item(["body"], f"JSON decode error: {error}", "json_invalid", None)
        raise Refusal(422, {"detail": [item]}) from error


def _directives(given: dict[str, Any], chaos: str) -> Directives:
    prompt = given.get("prompt", "")
    try:
        return directives.parse((prompt if isinstance(prompt, str) else "") + chaos)
    except directives.BadDirective as error:
        item = detail_item(["body", "prompt"], str(error), "unknown_directive", error.text)
        raise Refusal(422, {"detail": [item]}) from error


def _refusal(
    asked: Directives, queue: JobQueue, submission: Submission, number: int
) -> outcomes.Answer | None:
    for status, (content_type, body) in SUBMIT_REFUSALS.items():
        name = f"submit-{status}"
        if name in asked and _strikes(name, asked, queue, submission, number):
            if content_type == "text/html":
                return outcomes.gateways(int(status), body)
            busy = {"x-fal-needs-retry": "1", "retry-after": "1"}
            headers = busy if status == "429" else {}
            return outcomes.Answer(
                status_code=int(status), body=body, media_type=content_type, headers=headers
            )
    return None


def _strikes(
    name: str, asked: Directives, queue: JobQueue, submission: Submission, number: int
) -> bool:
    """Whether a directive that bars a submit does so once more; chaos does so once."""
    what = f"chaos {number}" if submission.chaos else str(submission.input["prompt"])
    fingerprint = sha256(f"{submission.endpoint} {name} {what}".encode()).hexdigest()
    return queue.refuse(fingerprint, asked.number(name, float("inf")))


def _is_moderated(asked: Directives, queue: JobQueue) -> bool:
    """Whether a prompt is refused at the door already."""
    is_refused = asked.failure() == "content_policy_violation"
    return is_refused and queue.assumptions.moderation == "locked"


def _submission(
    request: Request[Any, Any, Any], address: Address, given: dict[str, Any], owner: str
) -> Submission:
    headers = {
        name.lower(): value
        for name, value in request.headers.items()
        if name.lower().startswith(("x-fal-", "x-app-fal-"))
    }
    pairs = (pair.partition("=") for pair in headers.get("x-fal-tags", "").split(",") if pair)
    return Submission(
        owner=owner,
        endpoint=address.endpoint,
        app=address.app,
        input=given,
        tags={name.strip(): value.strip() for name, _, value in pairs},
        headers=headers,
        origin=origin_of(request),
        priority=1 if headers.get("x-fal-queue-priority") == "low" else 0,
        start_timeout_seconds=_seconds(headers.get("x-fal-request-timeout")),
        webhook_url=request.query_params.get("fal_webhook"),
    )


def _seconds(header: str | None) -> float | None:
    if header is None:
        return None
    with suppress(ValueError):
        seconds = float(header)
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    raise Refusal(400, {"detail": "bad timeout", "error_type": "bad_request"})
