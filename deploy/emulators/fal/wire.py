"""The corners of HTTP that a web framework hides: request ids, keys, cut connections."""

import hmac
import logging
import re
import socket
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import uuid4

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deploy.emulators.fal.errors import GATEWAY
from deploy.emulators.fal.identities import owner_of
from deploy.emulators.fal.outcomes import Answer
from deploy.emulators.fal.settings import Settings

MAX_ENDPOINTS: Final = 50
MAX_LIMIT: Final = 100
_LAST_SECONDS: Final = 32_503_680_000.0
"""The year 3000, so that what is reckoned with a time stays one."""
_PLATFORM: Final = "/v1/"
_PLATFORM_ERRORS: Final[Mapping[int, str]] = {
    401: "authorization_error",
    403: "authorization_error",
    404: "not_found",
    429: "rate_limited",
    500: "server_error",
    501: "not_implemented",
}
_REQUEST_ID: Final = b"x-fal-request-id"
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Refusal(Exception):
    """Carries the answer to a request that goes no further."""

    def __init__(self, status_code: int, body: Any) -> None:
        super().__init__(status_code)
        self.answer = Answer(status_code=status_code, body=body)


def respond(answer: Answer) -> Response[Any]:
    """An `Answer` as the framework's response; bytes go out as they are."""
    return Response(
        answer.body,
        status_code=answer.status_code,
        headers=answer.headers,
        media_type=answer.media_type,
    )


def refuse(request: Request[Any, Any, Any], refusal: Refusal) -> Response[Any]:
    """Exception handler for `Refusal`."""
    answer = refusal.answer
    if request.scope["path"].startswith(_PLATFORM):
        return _platform_error(answer.status_code, answer.body.get("detail"), {})
    return respond(answer)


def refuse_in_fals_words(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Exception handler for the framework's own errors (no route, body too large …)."""
    headers = error.headers or {}
    if request.scope["path"].startswith(_PLATFORM):
        return _platform_error(error.status_code, error.detail, headers)
    body = {"detail": error.detail, "error_type": "bad_request"}
    return Response(body, status_code=error.status_code, headers=headers)


def _platform_error(
    status_code: int, message: str | None, headers: Mapping[str, str]
) -> Response[Any]:
    """The platform API words errors in its own way, and knows no 422."""
    status_code = 400 if status_code == 422 else status_code
    kind = _PLATFORM_ERRORS.get(status_code, "validation_error")
    body = {"error": {"type": kind, "message": message or kind}}
    return Response(body, status_code=status_code, headers=dict(headers))


def admit_a_bug(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Exception handler for everything else: the log gets the traceback, the client a 500."""
    _log.error("a request hit a bug", exc_info=error)
    return Response({"detail": "emulator bug", "error_type": "internal_error"}, status_code=500)


def origin_of(request: Request[Any, Any, Any]) -> str:
    """``scheme://host[:port]`` as the client wrote it; every URL we hand out begins with it."""
    return f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"


def asked_endpoints(request: Request[Any, Any, Any], at_least: int) -> list[str]:
    """The values of ``endpoint_id``, in whatever way they were listed; at most fifty."""
    given = request.query_params.getall("endpoint_id", [])
    endpoints = [part for text in given for part in text.split(",") if part]
    if not at_least <= len(endpoints) <= MAX_ENDPOINTS:
        problem = f"{at_least} to {MAX_ENDPOINTS} values of endpoint_id are required"
        raise Refusal(422, {"detail": problem})
    return endpoints


def instant(text: str | None, default: float) -> float:
    """A time in epoch seconds, from a parameter in ISO 8601; a `Refusal` for anything else."""
    if text is None:
        return default
    try:
        at = datetime.fromisoformat(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        return min(max(seconds, 0.0), _LAST_SECONDS)
    except (ValueError, OverflowError) as error:
        raise Refusal(422, {"detail": f"not an ISO 8601 time: {text}"}) from error


def page_of(items: list[T], query: Mapping[str, str]) -> tuple[list[T], dict[str, Any]]:
    """The items that ``cursor`` and ``limit`` ask for, and what says whether there are more."""
    limit = min(whole_number(query, "limit", MAX_LIMIT), MAX_LIMIT)
    offset = whole_number(query, "cursor", 0)
    more = len(items) > offset + limit
    rest = {"has_more": more, "next_cursor": str(offset + limit) if more else None}
    return items[offset : offset + limit], rest


def whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    """A parameter that must be a whole number of at most nine digits, else a `Refusal` 422."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Refusal(422, {"detail": f"{name} is not a whole number of at most nine digits"})
    return int(text)


def authenticate(request: Request[Any, Any, Any], settings: Settings) -> str:
    """The digest that stands for the caller's key; a `Refusal` 401 without a good ``Key …``.

    An admin key that is no ordinary one belongs to the account of the first ordinary one.
    """
    key = _key_of(request, settings)
    if _is_among(key, settings.keys) or not settings.keys:
        return owner_of(key)
    if _is_among(key, settings.admin_keys):
        return owner_of(settings.keys[0])
    raise _unknown_key(settings)


def authenticate_admin(request: Request[Any, Any, Any], settings: Settings) -> str:
    """The same for what only an admin key may do; a `Refusal` 403 for every other key."""
    owner = authenticate(request, settings)
    if settings.admin_keys and not _is_among(_key_of(request, settings), settings.admin_keys):
        raise Refusal(403, {"detail": "Admin API key required"})
    return owner


def _key_of(request: Request[Any, Any, Any], settings: Settings) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "key" or not key.strip():
        raise _unknown_key(settings)
    return key


def _unknown_key(settings: Settings) -> Refusal:
    typed = {"error_type": "unauthorized"} if settings.assumptions.bad_key == "typed" else {}
    return Refusal(401, {"detail": "invalid key credentials", **typed})


def _is_among(key: str, accepted: Iterable[str]) -> bool:
    return any(hmac.compare_digest(key.encode(), one.encode()) for one in accepted)


def with_request_ids(app: ASGIApp) -> ASGIApp:
    """Give every answer an ``x-fal-request-id``, those of the framework's errors included.

    A gateway's page has none: by that fal's own client tells it from the platform's words.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message["headers"]}
                if headers.get(b"server") == GATEWAY.encode():
                    headers.pop(_REQUEST_ID, None)
                else:
                    headers.setdefault(_REQUEST_ID, str(uuid4()).encode())
                message["headers"] = list(headers.items())
            await send(message)

        await app(scope, receive, send_with_id)

    return wrapped


class CuttableProtocol(HttpToolsProtocol):
    """Shows every request its socket, so that a handler can play a crashing proxy: see `cut`."""

    def on_message_begin(self) -> None:
        """uvicorn's hook for a new request; it has just made the scope."""
        super().on_message_begin()
        self.scope["extensions"] = {"emulator": {"transport": self.transport}}


async def until_client_leaves(request: Request[Any, Any, Any]) -> None:
    """Hold the connection without a word until it is closed."""
    await until_disconnected(request.receive)


async def until_disconnected(receive: Receive) -> None:
    """The same for those who have no `Request` yet."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def cut(request: Request[Any, Any, Any]) -> None:
    """Reset the connection under a request: the client gets no answer and no goodbye."""
    reset(request.scope)
    # Until the server has noticed, it would take a further word for a broken answer, and log it.
    await until_client_leaves(request)


def reset(scope: Mapping[str, Any]) -> None:
    """Send a reset down a request's connection; the caller then waits until it is noticed."""
    transport = scope["extensions"]["emulator"]["transport"]
    no_linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    transport.abort()
