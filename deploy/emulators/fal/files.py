"""Generated media over HTTP: public by URL, in whole or by range (RFC 9110, section 14)."""

import asyncio
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any, Final

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from deploy.emulators.fal import media
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.outcomes import FOREIGN_ORIGIN
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.wire import Refusal, cut

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_HUGE_BYTES: Final = 8 * 1024**3
_PIECE_BYTES: Final = 1 << 16


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
    if "media-huge" in asked:
        headers["content-length"] = str(_HUGE_BYTES)
        return Stream(
            _endless(request, file.content), media_type=file.content_type, headers=headers
        )
    return respond_with_file(file, request.headers.get("range"), headers)


def _find(queue: JobQueue, request_id: str, name: str) -> tuple[Job, media.MediaFile]:
    """A file of a job that succeeded; a `Refusal` 404 for every other, and after its life."""
    now = queue.now()
    queue.advance(now)
    job = queue.peek(request_id)
    if job is not None and job.ended_at is not None and job.error_type is None:
        life = media_life_seconds(job.headers.get("x-fal-object-lifecycle-preference"))
        gone = job.payloads_deleted or "media-404" in job.directives
        alive = now < job.ended_at + life and not gone
        for file in media.files(job):
            if file.name == name and alive:
                return job, file
    raise Refusal(404, {"detail": "File not found"})


def media_life_seconds(header: str | None) -> float:
    """What a lifecycle header asks for; for ever when it does not ask, or not in clear words."""
    try:
        seconds = msgspec.json.decode(header or "{}").get("expiration_duration_seconds")
    except (ValueError, RecursionError, AttributeError):
        return float("inf")
    return float(seconds) if isinstance(seconds, int | float) else float("inf")


def respond_with_file(
    file: media.MediaFile, range_header: str | None, headers: dict[str, str]
) -> Response[bytes]:
    """The whole file, or the part of it that a ``Range`` header asks for."""
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


async def _endless(request: Request[Any, Any, Any], content: bytes) -> AsyncIterator[bytes]:
    """A film that goes on in silence, until the client has had enough."""
    yield content
    for _ in range((_HUGE_BYTES - len(content)) // _PIECE_BYTES):
        yield bytes(_PIECE_BYTES)
        # Sending to somebody who has left never waits, so nobody else would get a turn.
        await asyncio.sleep(0)
    await cut(request)


async def _half(request: Request[Any, Any, Any], content: bytes) -> AsyncIterator[bytes]:
    yield content[: len(content) // 2]
    await cut(request)
