"""Files that clients bring as inputs: asked for, then put, then public by URL."""

import os
import re
import sqlite3
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec
from litestar import HttpMethod, Request, Response, post, put, route
from litestar.di import NamedDependency
from litestar.params import FromPath

from deploy.emulators.fal.files import media_life_seconds, respond_with_file
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.media import MediaFile
from deploy.emulators.fal.wire import Refusal, origin_of

MAX_UPLOAD_BYTES: Final = 32 * 1024**2
_NOT_SAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_CONTENT_TYPE: Final = re.compile(r"[a-z]{1,32}/[A-Za-z0-9.+-]{1,64}", re.ASCII)


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says about a file before it is there."""

    file_name: str
    content_type: str


class Uploads:
    """Rows in the database, contents in a folder."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._db = connection
        self._folder = folder

    def announce(self, name: str, content_type: str, expires_at: float) -> str:
        """Make room for a file; the id that is returned is its only secret."""
        upload_id = uuid4().hex
        self._db.execute(
            "INSERT INTO uploads (id, name, content_type, expires_at) VALUES (?, ?, ?, ?)",
            (upload_id, name, content_type, expires_at),
        )
        return upload_id

    def store(self, upload_id: str, name: str, content: bytes) -> bool:
        """Take a file's content; False when nobody announced it."""
        changed = self._db.execute(
            "UPDATE uploads SET complete = 0 WHERE id = ? AND name = ?", (upload_id, name)
        )
        if changed.rowcount == 0:
            return False
        draft = self._folder / f"{upload_id}.new"
        draft.write_bytes(content)
        os.replace(draft, self._folder / upload_id)
        self._db.execute("UPDATE uploads SET complete = 1 WHERE id = ?", (upload_id,))
        return True

    def find(self, upload_id: str, name: str, now: float) -> MediaFile | None:
        """A file that was put and lives."""
        row = self._db.execute(
            "SELECT * FROM uploads WHERE id = ? AND name = ? AND complete AND expires_at > ?",
            (upload_id, name, now),
        ).fetchone()
        if row is None:
            return None
        content = (self._folder / upload_id).read_bytes()
        return MediaFile(
            name=name, content=content, content_type=row["content_type"], width=0, height=0
        )


@post("/storage/upload/initiate", status_code=200)
async def initiate(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, str]:
    """Announce a file: where to put it, and where it can be read then."""
    assert owner
    try:
        announced = msgspec.json.decode(await request.body(), type=Announcement)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, {"detail": f"not an announcement of a file: {error}"}) from error
    if not _CONTENT_TYPE.fullmatch(announced.content_type):
        raise Refusal(422, {"detail": "content_type is not a media type"})
    name = _NOT_SAFE.sub("_", announced.file_name[-100:]).lstrip(".") or "file"
    life = media_life_seconds(request.headers.get("x-fal-object-lifecycle-preference"))
    upload_id = uploads.announce(name, announced.content_type, queue.now() + life)
    place = f"{upload_id}/{name}"
    origin = origin_of(request)
    return {
        "upload_url": f"{origin}/storage/uploads/{place}",
        "file_url": f"{origin}/uploads/{place}",
    }


@put(
    "/storage/uploads/{upload_id:str}/{name:str}",
    status_code=200,
    request_max_body_size=MAX_UPLOAD_BYTES,
)
async def put_content(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    name: FromPath[str],
    uploads: NamedDependency[Uploads],
) -> Response[Any]:
    """Take the content. As with a signed URL, no key is asked for."""
    if not uploads.store(upload_id, name, await request.body()):
        raise Refusal(404, {"detail": "File not found"})
    return Response(b"", status_code=200)


@route("/uploads/{upload_id:str}/{name:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD])
async def read_upload(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    name: FromPath[str],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
) -> Response[Any]:
    """A file that was brought, in whole or by range; a browser must not run what is in it."""
    file = uploads.find(upload_id, name, queue.now())
    if file is None:
        raise Refusal(404, {"detail": "File not found"})
    headers = {
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
    }
    return respond_with_file(file, request.headers.get("range"), headers)
