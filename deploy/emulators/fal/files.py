"""Generated media over HTTP: public by URL, in whole or by range (RFC 9110, section 14)."""

import re
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from deploy.emulators.fal import media
from deploy.emulators.fal.jobs import Job, JobQueue
from deploy.emulators.fal.outcomes import FOREIGN_ORIGIN
from deploy.emulators.fal.wire import Refusal, cut

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@route("/files/{request_id:str}/{name:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def download(
    request: Request[Any, Any, Any],
    request_id: FromPath[str],
    name: FromPath[str],
    queue: NamedDependency[JobQueue],
) -> Response[Any]:
    """One file, or the part of it that ``Range`` asks for."""
    job, file = _find(queue, request_id, name)
    asked = job.directives
    if "media-redirect" in asked:
        return Response(b"", status_code=302, headers={"location": FOREIGN_ORIGIN + "/stolen.mp4"})
    if "media-wrong-type" in asked:
        return Response(b"<html><p>Not a film.</p></html>", media_type="text/html")
    headers = {
        "accept-ranges": "bytes",
        "last-modified": formatdate(job.ended_at, usegmt=True),
        "etag": f'"{job.request_id}"',
    }
    if "media-truncated" in asked:
        headers["content-length"] = str(len(file.content))
        body = _half(request, file.content)
        return Stream(body, media_type=file.content_type, headers=headers)
    return _respond(file, request.headers.get("range"), headers)


def _find(queue: JobQueue, request_id: str, name: str) -> tuple[Job, media.MediaFile]:
    """A file of a job that succeeded; a `Refusal` 404 for every other, and after its life."""
    now = time.time()
    queue.advance(now)
    job = queue.peek(request_id)
    if job is not None and job.ended_at is not None and job.error_type is None:
        alive = now < job.ended_at + _life_seconds(job) and "media-404" not in job.directives
        for file in media.files(job):
            if file.name == name and alive:
                return job, file
    raise Refusal(404, {"detail": "File not found"})


def _life_seconds(job: Job) -> float:
    """What the submit's lifecycle header asked for; for ever when it did not ask."""
    header = job.headers.get("x-fal-object-lifecycle-preference", "{}")
    try:
        seconds = msgspec.json.decode(header).get("expiration_duration_seconds")
    except (msgspec.DecodeError, AttributeError):
        return float("inf")
    return float(seconds) if isinstance(seconds, int | float) else float("inf")


def _respond(
    file: media.MediaFile, range_header: str | None, headers: dict[str, str]
) -> Response[bytes]:
    size = len(file.content)
    span = parse_range(range_header, size)
    if span is None:
        return Response(file.content, media_type=file.content_type, headers=headers)
    start, end = span
    if start >= size or start >= end:
        headers["content-range"] = f"bytes */{size}"
        return Response(b"", status_code=416, media_type=file.content_type, headers=headers)
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    part = file.content[start:end]
    return Response(part, status_code=206, media_type=file.content_type, headers=headers)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, end) of a single byte range, or None where the whole file is the right answer.

    Several ranges, other units and nonsense are ignored, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    if match[2] and int(match[2]) < int(match[1]):
        return None
    return int(match[1]), min(int(match[2]) + 1, size) if match[2] else size


async def _half(request: Request[Any, Any, Any], content: bytes) -> AsyncIterator[bytes]:
    yield content[: len(content) // 2]
    await cut(request)
