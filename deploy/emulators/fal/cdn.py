"""Uploads as fal's own clients make them: to the CDN in one piece, or in parts.

The Python client fetches a token for the CDN first; the JavaScript client is given URLs that need
none. Both put large files in parts, and close them with the list of parts.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Response, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.storage import (
    MAX_UPLOAD_BYTES,
    Announcement,
    Uploads,
    file_life_seconds,
    read_announcement,
)
from deploy.emulators.fal.wire import Refusal, origin_of

TOKEN_SECONDS: Final = 3600.0
_PARTS: Final = "/multipart/{session:str}"
_PLACES: Final = (
    "/uploads/{upload_id:str}/{name:str}",
    "/storage/uploads/{upload_id:str}/{name:str}",
)


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """One part of a file, as its client confirms it."""

    part_number: int
    etag: str


class Parts(msgspec.Struct, frozen=True):
    """All parts of a file, in order."""

    parts: list[Part]


@post("/storage/auth/token", status_code=200)
async def token(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, str]:
    """What opens the CDN to the holder of a key, for a while."""
    assert owner
    expires_at = queue.now() + TOKEN_SECONDS
    return {
        "token": uploads.issue_token(expires_at),
        "token_type": "Bearer",
        "base_url": origin_of(request),
        "expires_at": outcomes.iso(expires_at),
    }


@post("/files/upload", status_code=200, request_max_body_size=MAX_UPLOAD_BYTES)
async def upload(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
) -> dict[str, str]:
    """A file in one piece."""
    place = _announce(request, uploads, queue)
    upload_id, _, name = place.partition("/")
    uploads.store(upload_id, name, await request.body())
    return {"access_url": f"{origin_of(request)}/uploads/{place}"}


@post("/files/upload/multipart", status_code=200)
async def begin_parts(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
) -> dict[str, str]:
    """A file that will come in parts, for the holder of a token."""
    place = _announce(request, uploads, queue)
    upload_id, _, _ = place.partition("/")
    return {"access_url": f"{origin_of(request)}/uploads/{place}", "uploadId": upload_id}


@post("/storage/upload/initiate-multipart", status_code=200)
async def initiate_parts(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, str]:
    """A file that will come in parts, for the holder of a key."""
    assert owner
    place = uploads.announce(
        await read_announcement(request), queue.now() + file_life_seconds(request)
    )
    origin, upload_id = origin_of(request), place.partition("/")[0]
    return {
        "upload_url": f"{origin}/storage/uploads/{place}/multipart/{upload_id}",
        "file_url": f"{origin}/uploads/{place}",
    }


@put(
    [f"{place}{_PARTS}/{{number:int}}" for place in _PLACES],
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
)
async def put_part(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    name: FromPath[str],
    session: FromPath[str],
    number: FromPath[int],
    uploads: NamedDependency[Uploads],
) -> Response[Any]:
    """One part; its tag is said twice, for the two clients. No key is asked for."""
    etag = uploads.store_part(upload_id, name, number, await request.body())
    if session != upload_id or etag is None:
        raise Refusal(404, {"detail": "File not found"})
    part = {"partNumber": number, "etag": etag}
    return Response(part, status_code=200, headers={"etag": etag})


@post([f"{place}{_PARTS}/complete" for place in _PLACES], status_code=200)
async def complete_parts(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    name: FromPath[str],
    session: FromPath[str],
    uploads: NamedDependency[Uploads],
) -> dict[str, str]:
    """All parts are there: from now on they are one file."""
    try:
        parts = msgspec.json.decode(await request.body(), type=Parts).parts
    except (ValueError, RecursionError) as error:
        raise Refusal(422, {"detail": f"not a list of parts: {error}"}) from error
    etags = {part.part_number: part.etag for part in parts}
    if session != upload_id or not uploads.join(upload_id, name, etags):
        raise Refusal(400, {"detail": "these are not the parts that were put"})
    return {"access_url": f"{origin_of(request)}/uploads/{upload_id}/{name}"}


def _announce(request: Request[Any, Any, Any], uploads: Uploads, queue: JobQueue) -> str:
    """The place of the file that a token's holder brings; a `Refusal` for anybody else."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not uploads.knows_token(secret, queue.now()):
        raise Refusal(401, {"detail": "invalid token"})
    kind = request.headers.get("content-type", "application/octet-stream")
    said = Announcement(
        file_name=request.headers.get("x-fal-file-name", "upload.bin"),
        content_type=kind.partition(";")[0].strip(),
    )
    return uploads.announce(said, queue.now() + file_life_seconds(request))
