"""What the path of a queue URL means."""

from __future__ import annotations

from typing import Final

import msgspec

from deploy.emulators.fal.wire import Refusal

MAX_ENDPOINT_CHARACTERS: Final = 256
_PREFIXES: Final = ("workflows", "comfy")
_ACTIONS: Final = {
    "": "result",
    "response": "result",
    "status": "status",
    "status/stream": "stream",
    "cancel": "cancel",
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL path means: an endpoint to submit to, or something to do with a request."""

    endpoint: str
    app: str
    request_id: str = ""
    action: str = "submit"


def parse_address(path: str) -> Address:
    """Take a path apart; a `Refusal` 404 when it means nothing."""
    segments = [segment for segment in path.split("/") if segment]
    length = 3 if segments[:1] and segments[0] in _PREFIXES else 2
    app = "/".join(segments[:length])
    rest = segments[length:]
    is_endpoint = len(segments) >= length and len(path) <= MAX_ENDPOINT_CHARACTERS
    if is_endpoint and "requests" not in rest:
        return Address(endpoint="/".join(segments), app=app)
    if "requests" in rest:
        behind = rest[rest.index("requests") + 1 :]
        action = _ACTIONS.get("/".join(behind[1:]))
        if behind and action:
            return Address(endpoint=app, app=app, request_id=behind[0], action=action)
    raise Refusal(404, {"detail": "Path not found", "error_type": "bad_request"})
