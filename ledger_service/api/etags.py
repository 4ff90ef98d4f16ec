"""Entity tags: whoever has the newest body already is told so, and gets no other."""

from __future__ import annotations

import hashlib
from typing import Any

from ledger_service.api.call import Call
from ledger_service.api.http_reply import HttpReply, json_reply


def is_known(call: Call, etag: bytes) -> bool:
    """Whether the caller has this version already (If-None-Match)."""
    given = call.headers.every(b"if-none-match")
    tags = {tag.strip().removeprefix(b"W/") for value in given for tag in value.split(b",")}
    return etag in tags or b"*" in tags


def not_modified(etag: bytes) -> HttpReply:
    """304: what the caller has is what there is."""
    return HttpReply(b"", 304, headers=((b"etag", etag),))


def tagged_reply(call: Call, content: Any) -> HttpReply:
    """Content under a strong tag that changes whenever the body does."""
    reply = json_reply(content)
    etag = b'"%s"' % hashlib.blake2b(reply.body, digest_size=12).hexdigest().encode()
    if is_known(call, etag):
        return not_modified(etag)
    reply.headers.append((b"etag", etag))
    return reply
