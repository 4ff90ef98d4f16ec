"""Every refusal and failure as a problem document (RFC 9457). HTTP statuses live here alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope

from contracts.problems import TYPE_URI_PREFIX, ProblemCode
from ledger_service.api.http_reply import Header, HttpReply
from ledger_service.errors import (
    NotCaughtUp,
    OutcomeUnknown,
    Rejected,
    Unavailable,
    UnknownSnapshot,
)

log = logging.getLogger(__name__)

PROBLEM_JSON: Final = b"application/problem+json"
RETRY_AFTER_SECONDS: Final = 1

Code = ProblemCode


class Kind(NamedTuple):
    """What a code means over HTTP, and to a person."""

    status: int
    title: str
    detail: str


KINDS: Final[dict[ProblemCode, Kind]] = {
    Code.VALIDATION_FAILED: Kind(
        400,
        "Request not valid",
        "Something in the request is malformed or out of bounds; `errors` says what and where.",
    ),
    Code.IDEMPOTENCY_KEY_MISSING: Kind(
        400,
        "Idempotency key missing",
        "This operation needs an Idempotency-Key header, so that a retry can never count twice.",
    ),
    Code.CURSOR_INVALID: Kind(
        400,
        "Cursor not valid",
        "The cursor is not one of ours, or belongs to a list with other filters.",
    ),
    Code.SAME_ACCOUNT: Kind(400, "Same account", "Both accounts are the same one."),
    Code.UNAUTHENTICATED: Kind(
        401, "Not authenticated", "Send `Authorization: Bearer <API key>` with a valid key."
    ),
    Code.INSUFFICIENT_CREDITS: Kind(
        402, "Not enough credits", "The account has fewer credits available than this needs."
    ),
    Code.SPEND_LIMIT_REACHED: Kind(402, "Spend limit reached", "A spend limit forbids this."),
    Code.FORBIDDEN: Kind(403, "Not allowed", "The API key lacks a scope that this needs."),
    Code.WEBHOOK_NOT_GENUINE: Kind(
        403, "Webhook not genuine", "The webhook's signature does not prove that it is fal's."
    ),
    Code.ACCOUNT_NOT_FOUND: Kind(404, "No such account", "There is no account with this id."),
    Code.DEBIT_NOT_FOUND: Kind(404, "No such debit", "The account has no debit with this id."),
    Code.HOLD_NOT_FOUND: Kind(404, "No such hold", "The account has no hold with this id."),
    Code.GRANT_NOT_FOUND: Kind(404, "No such grant", "The account has no grant with this id."),
    Code.REFUND_NOT_FOUND: Kind(404, "No such refund", "The account has no refund with this id."),
    Code.GENERATION_NOT_FOUND: Kind(
        404, "No such generation", "There is no generation with this id."
    ),
    Code.MODEL_NOT_FOUND: Kind(404, "No such model", "There is no model with this name."),
    Code.THEME_NOT_FOUND: Kind(404, "No such theme", "There is no theme with this name."),
    Code.QUOTE_NOT_FOUND: Kind(404, "No such quote", "There is no quote with this id."),
    Code.COMMAND_NOT_FOUND: Kind(
        404,
        "Not applied so far",
        "No command with this key has taken effect on the account; retry with the same key.",
    ),
    Code.NOT_FOUND: Kind(404, "Not found", "There is nothing at this address."),
    Code.METHOD_NOT_ALLOWED: Kind(
        405, "Method not allowed", "This address does not know the method; see the Allow header."
    ),
    Code.ACCOUNT_EXISTS: Kind(409, "Account exists", "An account with this id is open already."),
    Code.ACCOUNT_FROZEN: Kind(409, "Account frozen", "Nothing may be spent from a frozen account."),
    Code.ACCOUNT_CLOSED: Kind(409, "Account closed", "The account is closed for this movement."),
    Code.ACCOUNT_MERGED: Kind(409, "Account merged", "The account was merged into another one."),
    Code.HOLD_NOT_OPEN: Kind(409, "Hold not open", "The hold was captured, released or expired."),
    Code.REFUND_EXCEEDS_DEBIT: Kind(
        409, "Refund exceeds debit", "No more can be refunded than is left of the debit."
    ),
    Code.CAPTURE_EXCEEDS_HOLD: Kind(
        409, "Capture exceeds hold", "No more can be captured than was held."
    ),
    Code.UNIT_MISMATCH: Kind(
        409, "Units differ", "The accounts count different units; credits cannot move between them."
    ),
    Code.GRANT_ENDED: Kind(
        409, "Grant has ended", "The grant has expired or was voided; nothing can bring it back."
    ),
    Code.GRANT_DERIVED: Kind(
        409, "Grant is derived", "These credits came from another grant; claw that one back."
    ),
    Code.NO_DEBT: Kind(409, "No debt", "The account owes nothing that could be written off."),
    Code.COMMAND_VOIDED: Kind(
        409, "Command voided", "The key was voided before anything was done under it."
    ),
    Code.QUOTE_EXPIRED: Kind(409, "Quote expired", "The quoted price is no longer on offer."),
    Code.MODEL_UNAVAILABLE: Kind(409, "Model unavailable", "The model is not on offer now."),
    Code.ALREADY_FINISHED: Kind(409, "Already finished", "The generation has come to its end."),
    Code.NOT_DUE: Kind(409, "Not due", "There is no step to claim now."),
    Code.STALE_FENCE: Kind(409, "Stale fence", "The claim has been taken over by another one."),
    Code.LIMIT_REACHED: Kind(
        409, "Limit reached", "This would pass a bound of the ledger, or of the tenant's policy."
    ),
    Code.PAYLOAD_TOO_LARGE: Kind(413, "Body too large", "The body is larger than this takes."),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(
        415, "Media type not supported", "The body is none of `media_types`, or encoded further."
    ),
    Code.RANGE_NOT_SATISFIABLE: Kind(
        416, "Range not satisfiable", "The file ends before the part that was asked for."
    ),
    Code.IDEMPOTENCY_KEY_REUSED: Kind(
        422, "Idempotency key reused", "The key was used before, for a different request."
    ),
    Code.CONTENT_REFUSED: Kind(
        422, "Content refused", "The operator's moderation does not let this order pass."
    ),
    Code.RATE_LIMITED: Kind(429, "Too many requests", "Slow down; see the Retry-After header."),
    Code.INTERNAL: Kind(
        500, "Internal error", "This is our mistake; it has been logged under the Trace-Id."
    ),
    Code.OUTCOME_UNKNOWN: Kind(
        503,
        "Outcome unknown",
        "It may or may not have taken effect; repeat it with the same Idempotency-Key to learn.",
    ),
    Code.UNAVAILABLE: Kind(
        503, "Unavailable", "Nothing was changed; try again after the time in Retry-After."
    ),
    Code.NOT_CAUGHT_UP: Kind(
        503, "Not caught up", "The ledger has not reached the position asked for; try again."
    ),
    Code.MODERATION_UNAVAILABLE: Kind(
        503,
        "Moderation unavailable",
        "Nobody could say whether this order may pass, and nothing was changed; try again.",
    ),
}

_BY_STATUS: Final = {
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.PAYLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
}
"""What the framework's own refusals are called; every other 4xx is `validation_failed`."""


def problem_reply(
    code: ProblemCode, instance: str, headers: tuple[Header, ...] = (), **fields: Any
) -> HttpReply:
    """The document for `code`; `fields` are its data members."""
    kind = KINDS[code]
    document = {
        "type": TYPE_URI_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": kind.detail,
        "instance": instance,
        **fields,
    }
    return HttpReply(
        msgspec.json.encode(document),
        kind.status,
        PROBLEM_JSON,
        _headers_of(code, fields) + headers,
    )


def problem_of(error: Exception, instance: str, trace_id: str) -> HttpReply:
    """The document for anything that was raised by a request of the path `instance`. What nobody
    foresaw is logged, not shown."""
    match error:
        case Rejected():
            fields = {"errors": error.errors, **error.fields} if error.errors else error.fields
            return problem_reply(error.code, instance, **fields)
        case NotCaughtUp():
            return unavailable(Code.NOT_CAUGHT_UP, instance, error.retry_after_seconds)
        case Unavailable():
            return unavailable(Code.UNAVAILABLE, instance, error.retry_after_seconds)
        case OutcomeUnknown():
            return unavailable(Code.OUTCOME_UNKNOWN, instance, RETRY_AFTER_SECONDS)
        case UnknownSnapshot():
            # Newer code is being rolled out beside us: it can answer, we cannot.
            return unavailable(Code.UNAVAILABLE, instance, RETRY_AFTER_SECONDS)
        case HTTPException() if error.status_code < 500:
            return _of_framework(error, instance)
    log.error("request failed, trace %s", trace_id, exc_info=error)
    return problem_reply(Code.INTERNAL, instance)


def instance_of(scope: Scope) -> str:
    """The path of the request as it was sent."""
    return scope["raw_path"].partition(b"?")[0].decode("latin-1") or "/"


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """For Litestar: what is raised outside of our endpoints, such as unknown routes."""
    reply = problem_of(error, instance_of(request.scope), "none")
    headers = {name.decode(): value.decode() for name, value in reply.headers[2:]}
    return Response(
        reply.body,
        status_code=reply.status,
        media_type=PROBLEM_JSON.decode(),
        headers=headers,
    )


def _headers_of(code: ProblemCode, fields: Mapping[str, Any]) -> tuple[Header, ...]:
    if code is Code.UNAUTHENTICATED:
        return ((b"www-authenticate", b'Bearer realm="credit-ledger"'),)
    if code is Code.PAYLOAD_TOO_LARGE:  # what has not been read yet never will be
        return ((b"connection", b"close"),)
    if code is Code.MODERATION_UNAVAILABLE:
        return ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),)
    if code is Code.RANGE_NOT_SATISFIABLE:
        return ((b"content-range", b"bytes */%d" % fields["size_bytes"]),)
    return ()


def unavailable(code: ProblemCode, instance: str, retry_after_seconds: int) -> HttpReply:
    """The document for a 503: come again after this long."""
    return problem_reply(code, instance, ((b"retry-after", b"%d" % retry_after_seconds),))


def _of_framework(error: HTTPException, instance: str) -> HttpReply:
    code = _BY_STATUS.get(error.status_code, Code.VALIDATION_FAILED)
    allow = (error.headers or {}).get("allow")
    headers = ((b"allow", allow.encode()),) if allow else ()
    return problem_reply(code, instance, headers)
