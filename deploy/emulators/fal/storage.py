"""Files that clients bring as inputs: asked for, then put, then public by URL."""

import os
import re
import secrets
import sqlite3
from collections.abc import Mapping
from hashlib import md5
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

MAX_UPLOAD_BYTES: Final = 100 * 1024**2
"""Of one piece: above it fal's clients send a file in parts."""
MAX_PARTS: Final = 1000
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

    def announce(self, said: Announcement, expires_at: float) -> str:
        """Make room for a file; its place is ``id/name``, and the id is its only secret.

        A `Refusal` 422 when what is said of its type makes no sense.
        """
        if not _CONTENT_TYPE.fullmatch(said.content_type):
            raise Refusal(422, {"detail": "content_type is not a media type"})
        name = _NOT_SAFE.sub("_", said.file_name[-100:]).lstrip(".") or "file"
        upload_id = uuid4().hex
        self._db.execute(
            "INSERT INTO uploads (id, name, content_type, expires_at) VALUES (?, ?, ?, ?)",
            (upload_id, name, said.content_type, expires_at),
        )
        return f"{upload_id}/{name}"

    def store(self, upload_id: str, name: str, content: bytes) -> bool:
        """Take a file's content; False when nobody announced it."""
        if not self._is_announced(upload_id, name):
            return False
        self._db.execute("UPDATE uploads SET complete = 0 WHERE id = ?", (upload_id,))
        self._write(upload_id, content)
        self._db.execute("UPDATE uploads SET complete = 1 WHERE id = ?", (upload_id,))
        return True

    def store_part(self, upload_id: str, name: str, number: int, content: bytes) -> str | None:
        """Take one part of a file; its tag, or None when nobody announced it."""
        if not (1 <= number <= MAX_PARTS and self._is_announced(upload_id, name)):
            return None
        self._write(f"{upload_id}.{number}", content)
        return _etag(content)

    def join(self, upload_id: str, name: str, etags: Mapping[int, str]) -> bool:
        """Make one file of its parts, by number; False when they are not those that were put."""
        places = {number: self._folder / f"{upload_id}.{number}" for number in sorted(etags)}
        if not etags or not self._is_announced(upload_id, name):
            return False
        if not all(1 <= n <= MAX_PARTS and place.exists() for n, place in places.items()):
            return False
        contents = {number: place.read_bytes() for number, place in places.items()}
        if any(_etag(content) != etags[number] for number, content in contents.items()):
            return False
        self.store(upload_id, name, b"".join(contents.values()))
        for place in places.values():
            place.unlink()
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

    def issue_token(self, expires_at: float) -> str:
        """A new secret that opens the CDN until then."""
        token = secrets.token_urlsafe(24)
        self._db.execute("INSERT INTO upload_tokens VALUES (?, ?)", (token, expires_at))
        return token

    def knows_token(self, token: str, now: float) -> bool:
        """Whether a secret opens the CDN now."""
        query = "SELECT 1 FROM upload_tokens WHERE token = ? AND expires_at > ?"
        return self._db.execute(query, (token, now)).fetchone() is not None

    def _is_announced(self, upload_id: str, name: str) -> bool:
        query = "SELECT 1 FROM uploads WHERE id = ? AND name = ?"
        return self._db.execute(query, (upload_id, name)).fetchone() is not None

    def _write(self, name: str, content: bytes) -> None:
        """In one step: a kill in between must not leave half of it."""
        draft = self._folder / f"{name}.new"
        draft.write_bytes(content)
        os.replace(draft, self._folder / name)


def _etag(content: bytes) -> str:
    """What object stores give as the tag of a part."""
    return f'"{md5(content, usedforsecurity=False).hexdigest()}"'


async def read_announcement(request: Request[Any, Any, Any]) -> Announcement:
    """A request's body; a `Refusal` 422 when it announces no file."""
    try:
        return msgspec.json.decode(await request.body(), type=Announcement)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, {"detail": f"not an announcement of a file: {error}"}) from error


@post("/storage/upload/initiate", status_code=200)
async def initiate(
    request: Request[Any, Any, Any],
    uploads: NamedDependency[Uploads],
    queue: NamedDependency[JobQueue],
    owner: NamedDependency[str],
) -> dict[str, str]:
    """Announce a file: where to put it, and where it can be read then."""
    assert owner
    said = await read_announcement(request)
    place = uploads.announce(said, queue.now() + file_life_seconds(request))
    origin = origin_of(request)
    return {
        "upload_url": f"{origin}/storage/uploads/{place}",
        "file_url": f"{origin}/uploads/{place}",
    }


def file_life_seconds(request: Request[Any, Any, Any]) -> float:
    """How long a file shall live that this request brings; clients spell the header in two ways."""
    headers = request.headers
    wish = headers.get("x-fal-object-lifecycle") or headers.get("x-fal-object-lifecycle-preference")
    return media_life_seconds(wish)


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
    return Response(b"", status_code=200, media_type="text/plain")  # empty is no JSON


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
