"""What fal's answers mean: pure functions from status, headers and body to one of our errors.

fal has no failed state. A job fails by completing with an `error`, or by a result that is not a
200. A *model* error is ``{"detail": [{type, msg, loc, …}]}``, a *platform* error is
``{"detail": "text", "error_type": type}``; only types are trusted, never texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from contracts.jobs import PROVIDER_ACCOUNT_LOCKED, PROVIDER_KEY_REFUSED
from job_worker.errors import (
    ProviderCancelled,
    ProviderRefusesUs,
    ProviderRejected,
    ProviderUnavailable,
)

RETRYABLE_TYPES: Final = frozenset(
    {
        # Model errors.
        "internal_server_error",
        "generation_timeout",
        "downstream_service_error",
        "downstream_service_unavailable",
        # Platform errors.
        "request_timeout",
        "startup_timeout",
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_connection_refused",
        "runner_connection_error",
        "runner_disconnected",
        "runner_incomplete_response",
        "runner_server_error",
        "internal_error",
    }
)
"""Asking again may help. Everything else is final, types we have never heard of included."""

CANCELLED_TYPES: Final = frozenset({"client_cancelled", "client_disconnected"})
CANCELLED_STATUS: Final = 499
TYPE_MAX_CHARACTERS: Final = 128
MESSAGE_MAX_CHARACTERS: Final = 200
RETRY_AFTER_MAX_SECONDS: Final = 3600.0

_AMBIGUOUS_SUBMIT: Final = frozenset({408, 409, 425, CANCELLED_STATUS})
"""4xx answers that an intermediary gives, maybe after the request had been passed on."""
_OUR_TROUBLE: Final = frozenset({401, 403, 408, 425, 429})
"""Answers to a read that speak of our key or our pace, not of the job."""


def of_submit(
    status: int, headers: Mapping[str, str], body: bytes
) -> ProviderRejected | ProviderUnavailable:
    """The meaning of a submit's answer other than a good 2xx.

    A refusal means that nothing was queued (`sent` false). What a gateway may have passed on
    before it failed is unknown, hence `ProviderUnavailable`.
    """
    if status == 429:
        after = _retry_after_seconds(headers)
        return ProviderRejected(
            "provider_busy", sent=False, retryable=True, retry_after_seconds=after
        )
    if status == 401:
        return ProviderRefusesUs(PROVIDER_KEY_REFUSED)
    if status == 403:
        # An exhausted balance looks like this.
        return ProviderRefusesUs(PROVIDER_ACCOUNT_LOCKED)
    if 400 <= status < 500 and status not in _AMBIGUOUS_SUBMIT:
        error_type, message = _describe(headers, _decode(body))
        return ProviderRejected(error_type or "invalid_input", message, sent=False)
    return ProviderUnavailable(f"http_{status}")


def of_status(fields: Mapping[str, Any], headers: Mapping[str, str]) -> ProviderRejected | None:
    """The verdict inside a COMPLETED status body, or None when it reports no error."""
    error, error_type = fields.get("error"), fields.get("error_type")
    if not error and not error_type:
        return None
    reason = _shorten(error_type, TYPE_MAX_CHARACTERS) or "provider_error"
    return _verdict(reason, _shorten(error), headers, None)


def of_result(
    status: int, headers: Mapping[str, str], body: bytes
) -> ProviderRejected | ProviderUnavailable:
    """The meaning of a result's answer other than 200.

    A 5xx is the model's verdict if it is written as one, or if it says that there is nothing to
    try again. The platform's other failures are in the status, which said that the job succeeded:
    here fal has stumbled, and unless it was a gateway that answers, a stumble that lasts is a
    failure of the job.
    """
    fields = _decode(body)
    error_type, message = _describe(headers, fields)
    is_model_error = isinstance(fields.get("detail"), list) and error_type is not None
    if status == 404:
        return ProviderRejected("media_lost", retryable=True)
    if status in _OUR_TROUBLE and not is_model_error:
        return ProviderUnavailable(f"http_{status}")
    if status == CANCELLED_STATUS:
        return _verdict(error_type or "client_cancelled", message, headers, status)
    if status == 400 and error_type is None:
        # So answers fal before the job is complete, after a re-run of its own for instance.
        return ProviderUnavailable("not_complete")
    verdict = _verdict(error_type or "provider_error", message, headers, status)
    if 400 <= status < 500 or is_model_error:
        return verdict
    by_fal = status >= 500 and (error_type is not None or "detail" in fields)
    if by_fal and not _hint(headers, default=True):
        return verdict
    return ProviderUnavailable(f"http_{status}", if_it_stays=verdict if by_fal else None)


def billable_units(headers: Mapping[str, str]) -> str | None:
    """What fal will charge for the job, in the model's own unit; None when it does not say."""
    units = headers.get("x-fal-billable-units", "").strip()
    return units[:128] or None


def _verdict(
    reason: str, message: str, headers: Mapping[str, str], status: int | None
) -> ProviderRejected:
    units = billable_units(headers)
    if reason in CANCELLED_TYPES or status == CANCELLED_STATUS:
        return ProviderCancelled(reason, message, billable_units=units)
    return ProviderRejected(
        reason,
        message,
        retryable=_hint(headers, default=reason in RETRYABLE_TYPES),
        billable_units=units,
    )


def _hint(headers: Mapping[str, str], *, default: bool) -> bool:
    """fal's own word on retrying: an older and a newer header."""
    for name in ("x-fal-retryable", "x-fal-needs-retry"):
        text = headers.get(name, "").lower()
        if text in {"true", "1"}:
            return True
        if text in {"false", "0"}:
            return False
    return default


def _describe(headers: Mapping[str, str], fields: Mapping[str, Any]) -> tuple[str | None, str]:
    """The error's type, if any, and a text that is fit to be shown."""
    detail = fields.get("detail")
    error_type = fields.get("error_type") or headers.get("x-fal-error-type")
    message = detail
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        # `input` and `ctx` beside these may hold the prompt: they are never read.
        error_type = detail[0].get("type") or error_type
        message = detail[0].get("msg")
    return _shorten(error_type, TYPE_MAX_CHARACTERS) or None, _shorten(message)


def _shorten(text: object, characters_max: int = MESSAGE_MAX_CHARACTERS) -> str:
    """A text that a report may carry; the ledger takes no NUL."""
    return text.replace("\x00", "")[:characters_max] if isinstance(text, str) else ""


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return min(float(text), RETRY_AFTER_MAX_SECONDS) if text.isdecimal() else None
