"""What a job looks like from outside: its status body and its result, as pure functions of it."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from deploy.emulators.fal import media, models
from deploy.emulators.fal.errors import CATALOGUE, detail_item
from deploy.emulators.fal.jobs import Job

FOREIGN_ORIGIN: Final = "https://media.invalid"
"""Where ``media-foreign`` and ``media-redirect`` lead: a name that never resolves (RFC 6761)."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer in the making."""

    status_code: int
    body: Any
    headers: dict[str, str] = {}


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
    if job.error_type is not None:
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
        return Answer(status_code=200, body=_output(job, origin), headers=headers)
    if job.error_type == "invalid_input":
        detail = models.violations(job.endpoint, job.input)
        return Answer(status_code=422, body={"detail": detail}, headers=headers)
    return failure(job.error_type, job.input.get("prompt"), headers)


def failure(error_type: str, given: Any, headers: dict[str, str]) -> Answer:
    """One of fal's errors, in its own shape; `headers` are added to."""
    kind = CATALOGUE[error_type]
    retryable = str(kind.retryable).lower()
    headers = headers | {"x-fal-error-type": error_type, "x-fal-retryable": retryable}
    headers |= {"x-fal-needs-retry": "1"} if kind.retryable else {}
    headers |= {"x-fal-request-timeout-type": "user"} if error_type == "request_timeout" else {}
    body: dict[str, Any] = {"detail": kind.message, "error_type": error_type}
    if kind.shape == "model":
        body = {"detail": [detail_item(["body", "prompt"], kind.message, error_type, given)]}
    return Answer(status_code=kind.status_code, body=body, headers=headers)


def _output(job: Job, origin: str) -> dict[str, Any]:
    host = FOREIGN_ORIGIN if "media-foreign" in job.directives else origin
    files = [
        {"url": f"{host}/files/{job.request_id}/{file.name}", **file.description()}
        for file in media.files(job)
    ]
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


def _seed(job: Job) -> int:
    given = job.input.get("seed")
    if isinstance(given, int):
        return given
    return int.from_bytes(sha256(job.request_id.encode()).digest()[:4], "big")
