"""What a job looks like from outside: its status body and its result, as pure functions of it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from deploy.emulators.fal import media, models
from deploy.emulators.fal.errors import CATALOGUE, GATEWAY, ErrorKind, detail_item, gateway_page
from deploy.emulators.fal.records import INVALID_INPUT, Job

FOREIGN_ORIGIN: Final = "https://media.invalid"
"""Where ``media-foreign`` and ``media-redirect`` lead: a name that never resolves (RFC 6761)."""
PRIVATE_ORIGIN: Final = "http://10.0.0.1"
"""Where ``media-private`` leads: into the customer's own network (RFC 1918)."""
LARGE_BYTES: Final = 10_000
STORED_BYTES_MAX: Final = 1_000_000
LARGE_SHARE: Final = 0.1
"""A large result lives six minutes where others live an hour."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer in the making; a body of bytes is sent as it is."""

    status_code: int
    body: Any
    headers: dict[str, str] = {}
    media_type: str = "application/json"


def iso(at: float) -> str:
    """An instant as fal writes it: RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def urls(job: Job, origin: str) -> dict[str, str]:
    """The job's URLs. They hold owner and app alone, never the rest of the endpoint."""
    base = f"{origin}/{job.app}/requests/{job.request_id}"
    return {
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
    }


def status(job: Job, origin: str, position: int, with_logs: bool, now: float) -> Answer:
    """The status: 200 once the job has completed (in whatever way), 202 before."""
    body: dict[str, Any] = {
        "status": job.status,
        "request_id": job.request_id,
        "gateway_request_id": job.gateway_request_id,
        **urls(job, origin),
        "queue_position": position,
        "logs": _logs(job, now) if with_logs else None,
    }
    if job.status != "COMPLETED":
        if "unknown-status" in job.directives:
            body["status"] = "REHEATING"
        return Answer(status_code=202, body=body)
    assert job.ended_at is not None
    body["metrics"] = {"inference_time": job.ended_at - (job.started_at or job.ended_at)}
    if job.error_type is not None and "quiet-status" not in job.directives:
        body |= {"error": error_text(job), "error_type": job.error_type}
    return Answer(status_code=200, body=body)


def _logs(job: Job, now: float) -> list[dict[str, str]]:
    """One line at the start, one for each second of work, one at the end."""
    if job.started_at is None:
        return []
    until = min(job.ended_at or now, job.started_at + 60)
    moments = [(job.started_at, "started")]
    for second in range(1, int(until - job.started_at) + 1):
        moments.append((job.started_at + second, f"{second} s of work done"))
    if job.ended_at is not None:
        moments.append((job.ended_at, "failed" if job.error_type else "finished"))
    return [
        {"message": text, "level": "INFO", "source": "USER", "timestamp": iso(at)}
        for at, text in moments
    ]


def error_text(job: Job) -> str:
    """The one-line error of a failed job's status and webhook."""
    assert job.error_type is not None
    kind = CATALOGUE.get(job.error_type)
    if kind is not None and kind.shape == "platform":
        return kind.message
    return f"Invalid status code: {kind.status_code if kind else 422}"


def result(job: Job, origin: str) -> Answer:
    """The model's own answer, success or failure, of a job that has completed."""
    assert job.status == "COMPLETED"
    headers = {"x-fal-billable-units": str(job.billable_units), "x-fal-served-from": "emulator"}
    if job.error_type is None:
        body = _output(job, origin) | _oddities(job)
        return Answer(status_code=200, body=body, headers=headers)
    faults = job.faults
    if faults and job.error_type in (INVALID_INPUT, faults[0]["type"]):
        return Answer(status_code=422, body={"detail": faults}, headers=headers)
    asked = job.directives
    return failure(
        job.error_type,
        job.input.get("prompt"),
        headers,
        shape=asked.choice("fail-body"),
        retryable=asked.choice("retryable"),
    )


def failure(
    error_type: str,
    given: Any,
    headers: dict[str, str],
    *,
    shape: str | None = None,
    retryable: str | None = None,
) -> Answer:
    """One of fal's errors; `headers` are added to.

    `shape` is that of the body (list, flat, string, page), `retryable` what the retry headers say
    (true, false, absent); both are the error's own where they are None.
    """
    kind = CATALOGUE[error_type]
    if shape == "page":
        return gateway_failure()
    if shape != "string":
        headers = headers | {"x-fal-error-type": error_type}
    headers |= _retry_headers(retryable or str(kind.retryable).lower())
    headers |= {"x-fal-request-timeout-type": "user"} if error_type == "request_timeout" else {}
    body = _failure_body(error_type, kind, given, shape)
    return Answer(status_code=kind.status_code, body=body, headers=headers)


def gateway_failure() -> Answer:
    """What a proxy says when it cannot reach what is behind it."""
    return gateways(502, gateway_page("502 Bad Gateway"))


def gateways(status_code: int, page: bytes) -> Answer:
    """A page that the platform has not written."""
    return Answer(
        status_code=status_code, body=page, media_type="text/html", headers={"server": GATEWAY}
    )


def _failure_body(error_type: str, kind: ErrorKind, given: Any, shape: str | None) -> Any:
    shape = shape or ("list" if kind.shape == "model" else "flat")
    if shape == "list":
        return {"detail": [detail_item(["body", "prompt"], kind.message, error_type, given)]}
    if shape == "string":
        return {"detail": kind.message}
    return {"detail": kind.message, "error_type": error_type}


def _retry_headers(word: str) -> dict[str, str]:
    """The older header and, where it says yes, the newer one beside it."""
    if word == "absent":
        return {}
    return {"x-fal-retryable": word} | ({"x-fal-needs-retry": "1"} if word == "true" else {})


def life_seconds(job: Job, result_seconds: float, stored_seconds: float) -> float:
    """How long a completed job's status and result stay readable.

    That is `result_seconds`, or a tenth of it for a large result; `stored_seconds` where those are
    longer, unless the submit forbade storing or the result is too large to be stored.
    """
    answer = result(job, "")
    size = len(answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body))
    short = result_seconds * LARGE_SHARE if size >= LARGE_BYTES else result_seconds
    is_stored = job.stores_io and size <= STORED_BYTES_MAX
    return max(short, stored_seconds) if is_stored else short


def _oddities(job: Job) -> dict[str, Any]:
    """What directives add to, or put in the place of, a good result."""
    asked = job.directives
    odd: dict[str, Any] = {}
    if "nsfw" in asked:
        odd["has_nsfw_concepts"] = [True for _ in media.files(job)]
    if "big-result" in asked:
        odd["padding"] = "x" * LARGE_BYTES
    return odd


def _media_host(job: Job, origin: str) -> str:
    if "media-foreign" in job.directives:
        return FOREIGN_ORIGIN
    return PRIVATE_ORIGIN if "media-private" in job.directives else origin


def _output(job: Job, origin: str) -> dict[str, Any]:
    host = _media_host(job, origin)
    files = [{"url": _url(job, host, file), **file.description()} for file in media.files(job)]
    model = models.model_of(job.endpoint)
    body: dict[str, Any] = {"images": files}
    if model.output == "video":
        body = {"video": files[0] if files else None}
    beside = {
        "seed": _seed(job),
        "has_nsfw_concepts": [False for _ in files],
        "timings": {"inference": (job.ended_at or 0) - (job.started_at or 0)},
        "prompt": job.prompt,
        "actual_prompt": job.prompt,
        "video_id": f"video_{job.request_id}",
        "description": "",
    }
    return body | {name: beside[name] for name in model.extra}


def _url(job: Job, host: str, file: media.MediaFile) -> str:
    if job.is_inline:
        return f"data:{file.content_type};base64,{base64.b64encode(file.content).decode()}"
    return f"{host}/files/{job.request_id}/{file.name}"


def _seed(job: Job) -> int:
    given = job.input.get("seed")
    if isinstance(given, int):
        return given
    return int.from_bytes(sha256(job.request_id.encode()).digest()[:4], "big")
