"""What fal's answers mean: the table, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from contracts.jobs import FailedReport
from job_worker.errors import ProviderCancelled, ProviderRejected, ProviderUnavailable
from job_worker.providers import fal_verdicts
from job_worker.steps.reports import failed

MODEL_ERROR = {"detail": [{"type": "content_policy_violation", "msg": "No.", "input": "canary"}]}


def encoded(body: Any) -> bytes:
    """The body as it comes over the wire."""
    return body if isinstance(body, bytes) else msgspec.json.encode(body)


@pytest.mark.parametrize(
    ("status", "body", "reason", "retryable"),
    [
        (429, {"detail": "Too many requests."}, "provider_busy", True),
        (401, {"detail": "invalid key credentials"}, "provider_key_refused", True),
        (403, {"detail": "User is locked."}, "provider_account_locked", True),
        (422, MODEL_ERROR, "content_policy_violation", False),
        (422, {"detail": "just a text"}, "invalid_input", False),
        (400, {"detail": "no", "error_type": "bad_request"}, "bad_request", False),
        (404, b"<html>", "invalid_input", False),
        (413, b"", "invalid_input", False),
    ],
)
def test_a_refused_submit_was_never_sent(
    status: int, body: Any, reason: str, retryable: bool
) -> None:
    """A refusal at the door proves that nothing was queued."""
    verdict = fal_verdicts.of_submit(status, {}, encoded(body))
    assert isinstance(verdict, ProviderRejected)
    assert (verdict.reason, verdict.sent, verdict.retryable) == (reason, False, retryable)


@pytest.mark.parametrize("status", [302, 408, 409, 425, 499, 500, 502, 503, 504])
def test_an_ambiguous_submit_stays_unknown(status: int) -> None:
    """An answer that a gateway may have given after passing the job on proves nothing."""
    verdict = fal_verdicts.of_submit(status, {}, b"<html>")
    assert isinstance(verdict, ProviderUnavailable)
    assert not verdict.not_sent


def test_a_busy_provider_says_when_to_come_back() -> None:
    """Retry-After is passed on, and bounded."""
    for text, seconds in (("7", 7.0), ("999999", 3600.0), ("soon", None)):
        verdict = fal_verdicts.of_submit(429, {"retry-after": text}, b"")
        assert isinstance(verdict, ProviderRejected)
        assert verdict.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("fields", "reason", "retryable"),
    [
        ({"error": "x", "error_type": "runner_disconnected"}, "runner_disconnected", True),
        ({"error": "x", "error_type": "startup_timeout"}, "startup_timeout", True),
        ({"error": "x", "error_type": "never_heard_of"}, "never_heard_of", False),
        ({"error": "Invalid status code: 422"}, "provider_error", False),
        ({"error_type": "bad_request"}, "bad_request", False),
    ],
)
def test_a_completed_job_with_an_error_has_failed(
    fields: Mapping[str, Any], reason: str, retryable: bool
) -> None:
    """COMPLETED is no success: an error in the status is the provider's verdict."""
    verdict = fal_verdicts.of_status(fields, {})
    assert verdict is not None
    assert (verdict.reason, verdict.sent, verdict.retryable) == (reason, True, retryable)


@pytest.mark.parametrize("fields", [{}, {"error": None}, {"error": "", "error_type": None}])
def test_a_completed_job_without_an_error_has_no_verdict(fields: Mapping[str, Any]) -> None:
    """Whether it succeeded is for its result to say."""
    assert fal_verdicts.of_status(fields, {}) is None


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (422, MODEL_ERROR, "content_policy_violation"),
        (422, {"detail": "just a text"}, "provider_error"),
        (500, {"detail": [{"type": "internal_server_error"}]}, "internal_server_error"),
        (400, {"detail": [{"type": "downstream_service_error"}]}, "downstream_service_error"),
        (403, {"detail": [{"type": "content_policy_violation"}]}, "content_policy_violation"),
        (404, {"status": "NOT_FOUND"}, "media_lost"),
    ],
)
def test_a_failed_result_is_final(status: int, body: Any, reason: str) -> None:
    """A result written as the model's error is the verdict, whatever its status."""
    verdict = fal_verdicts.of_result(status, {"x-fal-billable-units": "2"}, encoded(body))
    assert isinstance(verdict, ProviderRejected)
    assert (verdict.reason, verdict.sent) == (reason, True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"detail": "Request is still in progress"}),
        (401, {"detail": "invalid key credentials"}),
        (403, b""),
        (429, b""),
        (500, {"detail": "The platform failed.", "error_type": "internal_error"}),
        (502, b"<html>502 Bad Gateway</html>"),
        (301, b""),
        (500, b"[" * 100_000),
    ],
)
def test_a_result_that_cannot_be_had_now_is_no_verdict(status: int, body: Any) -> None:
    """Trouble with the key, the pace or a gateway says nothing about the job."""
    assert isinstance(fal_verdicts.of_result(status, {}, encoded(body)), ProviderUnavailable)


def test_a_cancellation_is_told_from_a_failure() -> None:
    """499 and client_cancelled are what a cancelled job ends with."""
    cancelled = [
        fal_verdicts.of_status({"error_type": "client_cancelled"}, {}),
        fal_verdicts.of_result(499, {}, b""),
        fal_verdicts.of_result(499, {}, encoded({"detail": "x", "error_type": "other"})),
    ]
    assert all(isinstance(verdict, ProviderCancelled) for verdict in cancelled)


@pytest.mark.parametrize(
    ("headers", "retryable"),
    [
        ({"x-fal-retryable": "true"}, True),
        ({"x-fal-retryable": "false"}, False),
        ({"x-fal-needs-retry": "1"}, True),
        ({}, False),
    ],
)
def test_the_provider_s_own_hint_decides(headers: Mapping[str, str], retryable: bool) -> None:
    """Both names of fal's retry header are understood, and outweigh our table."""
    verdict = fal_verdicts.of_result(422, headers, encoded(MODEL_ERROR))
    assert isinstance(verdict, ProviderRejected)
    assert verdict.retryable is retryable


def test_a_model_s_message_comes_without_the_input() -> None:
    """The text of an error is kept, bounded; the input that fal repeats beside it is not."""
    body = {"detail": [{"type": "t", "msg": "m" * 999, "input": "canary", "ctx": {"x": "canary"}}]}
    verdict = fal_verdicts.of_result(422, {}, encoded(body))
    assert isinstance(verdict, ProviderRejected)
    assert verdict.message == "m" * fal_verdicts.MESSAGE_MAX_CHARACTERS
    assert "canary" not in repr(vars(verdict))


@pytest.mark.parametrize("text", ["x" * 5_000, "nul\x00inside", "\x00", ""])
def test_a_verdict_fits_into_a_report(text: str) -> None:
    """Whatever words the provider chooses, the ledger takes the report: else no job would end."""
    model_error = encoded({"detail": [{"type": text, "msg": text}]})
    platform_error = encoded({"detail": text, "error_type": text})
    verdicts: list[object] = [
        fal_verdicts.of_status({"error": text or "x", "error_type": text}, {})
    ]
    for body in (model_error, platform_error):
        verdicts += [fal_verdicts.of_submit(422, {}, body), fal_verdicts.of_result(422, {}, body)]
    for verdict in verdicts:
        assert isinstance(verdict, ProviderRejected)
        report = msgspec.json.encode(failed(verdict))
        assert msgspec.json.decode(report, type=FailedReport).reason
        assert b"\\u0000" not in report
