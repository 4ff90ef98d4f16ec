"""Problem codes: the one list of everything a caller can be told, one line each."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

TYPE_URI_PREFIX = "https://credit-ledger.dev/problems/"


class ProblemCode(enum.StrEnum):
    """The `code` of a problem document; the HTTP status lives with the ledger's API."""

    VALIDATION_FAILED = "validation_failed"
    IDEMPOTENCY_KEY_MISSING = "idempotency_key_missing"
    CURSOR_INVALID = "cursor_invalid"
    SAME_ACCOUNT = "same_account"
    UNAUTHENTICATED = "unauthenticated"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    SPEND_LIMIT_REACHED = "spend_limit_reached"
    FORBIDDEN = "forbidden"
    WEBHOOK_NOT_GENUINE = "webhook_not_genuine"
    ACCOUNT_NOT_FOUND = "account_not_found"
    DEBIT_NOT_FOUND = "debit_not_found"
    HOLD_NOT_FOUND = "hold_not_found"
    GRANT_NOT_FOUND = "grant_not_found"
    REFUND_NOT_FOUND = "refund_not_found"
    GENERATION_NOT_FOUND = "generation_not_found"
    MODEL_NOT_FOUND = "model_not_found"
    THEME_NOT_FOUND = "theme_not_found"
    QUOTE_NOT_FOUND = "quote_not_found"
    COMMAND_NOT_FOUND = "command_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    ACCOUNT_EXISTS = "account_exists"
    ACCOUNT_FROZEN = "account_frozen"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_MERGED = "account_merged"
    HOLD_NOT_OPEN = "hold_not_open"
    REFUND_EXCEEDS_DEBIT = "refund_exceeds_debit"
    CAPTURE_EXCEEDS_HOLD = "capture_exceeds_hold"
    UNIT_MISMATCH = "unit_mismatch"
    GRANT_ENDED = "grant_ended"
    GRANT_DERIVED = "grant_derived"
    NO_DEBT = "no_debt"
    COMMAND_VOIDED = "command_voided"
    QUOTE_EXPIRED = "quote_expired"
    MODEL_UNAVAILABLE = "model_unavailable"
    ALREADY_FINISHED = "already_finished"
    NOT_DUE = "not_due"
    STALE_FENCE = "stale_fence"
    LIMIT_REACHED = "limit_reached"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    CONTENT_REFUSED = "content_refused"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    OUTCOME_UNKNOWN = "outcome_unknown"
    UNAVAILABLE = "unavailable"
    NOT_CAUGHT_UP = "not_caught_up"
    MODERATION_UNAVAILABLE = "moderation_unavailable"


class FieldError(msgspec.Struct, frozen=True):
    """One fault of a request body: where (a JSON pointer) and what."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457) as a client reads it; data fields stay in `extra`."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    instance: str = ""
    errors: tuple[FieldError, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> tuple[Problem, dict[str, Any]]:
        """Decode a problem body into the document and every field that it carries.

        Raises `msgspec.MsgspecError` when the body is not a problem document.
        """
        fields = msgspec.json.decode(body, type=dict[str, Any])
        return msgspec.convert(fields, cls), fields
