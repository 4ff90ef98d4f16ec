"""Uploads: files of callers that generations begin with."""

import tempfile
from typing import Final

from litestar import Controller

from contracts.api.keys import Scope
from contracts.api.uploads import Upload
from contracts.limits import UPLOAD_MAX_BYTES
from contracts.media import MEDIA_TYPES
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.incoming import IncomingFile

SPOOL_MAX_BYTES: Final = 1024**2
"""A file up to this size stays in memory until it is stored."""


class UploadsController(Controller):
    """`/v1/uploads`."""

    path = "/v1/uploads"
    tags = ("Generations",)

    @post(
        scope=Scope.SPEND,
        reply=Upload,
        status=201,
        body_max_bytes=UPLOAD_MAX_BYTES,
        file_types=tuple(known.content_type for known in MEDIA_TYPES),
        summary="Upload a file for an input",
        problems=(ProblemCode.LIMIT_REACHED,),
    )
    async def upload_file(self, call: Call, file: IncomingFile) -> HttpReply:
        """Store a picture, film or sound, so that its `url` can stand in an input: the body is the
        file itself. What it is, is told by its bytes, whatever the request says.

        Anyone who has the address can fetch the file until `expires_at`; then it is removed.
        Nothing is charged, and no key is needed: a repeat stores it once more. Few are taken in at
        a time: who sends more is told by a 503 when to come again.
        """
        uploads = call.services.generations.uploads
        with (
            uploads.room(call.tenant) as room,
            tempfile.SpooledTemporaryFile(max_size=SPOOL_MAX_BYTES) as spool,
        ):
            await file.save(spool)
            stored = await uploads.keep(spool, room, call.base_url)
        upload = Upload(
            url=stored.link.url,
            expires_at=stored.link.expires_at,
            content_type=stored.media_type.content_type,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )
        return json_reply(upload, 201)
