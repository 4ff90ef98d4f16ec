"""fal's errors: two shapes, one table.

A *model* error is written by the model's code: ``{"detail": [{loc, msg, type, url}]}``. A
*platform* error is written by the queue around it: ``{"detail": "text", "error_type": type}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec


class ErrorKind(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a job can fail."""

    status_code: int
    message: str
    shape: Literal["model", "platform"]
    retryable: bool = False


def _model(status_code: int, message: str, retryable: bool = False) -> ErrorKind:
    return ErrorKind(status_code=status_code, message=message, shape="model", retryable=retryable)


def _platform(status_code: int, message: str, retryable: bool = False) -> ErrorKind:
    return ErrorKind(
        status_code=status_code, message=message, shape="platform", retryable=retryable
    )


CATALOGUE: Final[Mapping[str, ErrorKind]] = {
    "internal_server_error": _model(500, "The model failed on its own.", True),
    "generation_timeout": _model(504, "The generation took too long.", True),
    "downstream_service_error": _model(400, "A service behind the model refused.", True),
    "downstream_service_unavailable": _model(500, "A service behind the model is down.", True),
    "content_policy_violation": _model(422, "The prompt was refused by a content checker."),
    "no_media_generated": _model(422, "The model finished without making anything."),
    "image_load_error": _model(422, "The input image could not be decoded."),
    "image_too_small": _model(422, "The input image is too small."),
    "image_too_large": _model(422, "The input image is too large."),
    "face_detection_error": _model(422, "No face was found in the input image."),
    "file_download_error": _model(422, "An input file could not be downloaded."),
    "file_too_large": _model(422, "An input file is too large."),
    "feature_not_supported": _model(422, "The model does not support this combination."),
    "one_of": _model(422, "A value is not one of those allowed."),
    "greater_than": _model(422, "A value is too small."),
    "greater_than_equal": _model(422, "A value is too small."),
    "less_than": _model(422, "A value is too large."),
    "less_than_equal": _model(422, "A value is too large."),
    "multiple_of": _model(422, "A value is not a multiple of its step."),
    "sequence_too_short": _model(422, "A list has too few entries."),
    "sequence_too_long": _model(422, "A list has too many entries."),
    "unsupported_image_format": _model(422, "The format of an input image is not supported."),
    "unsupported_video_format": _model(422, "The format of an input film is not supported."),
    "unsupported_audio_format": _model(422, "The format of an input sound is not supported."),
    "audio_duration_too_short": _model(422, "An input sound is too short."),
    "audio_duration_too_long": _model(422, "An input sound is too long."),
    "video_duration_too_short": _model(422, "An input film is too short."),
    "video_duration_too_long": _model(422, "An input film is too long."),
    "invalid_archive": _model(422, "An input archive cannot be opened."),
    "archive_file_count_below_minimum": _model(422, "An input archive has too few files."),
    "archive_file_count_exceeds_maximum": _model(422, "An input archive has too many files."),
    "request_timeout": _platform(504, "The request did not start in time.", True),
    "startup_timeout": _platform(504, "No runner started in time.", True),
    "runner_scheduling_failure": _platform(503, "No runner could be found.", True),
    "runner_connection_timeout": _platform(503, "The runner did not accept in time.", True),
    "runner_connection_refused": _platform(503, "The runner refused the connection.", True),
    "runner_connection_error": _platform(503, "The runner could not be reached.", True),
    "runner_disconnected": _platform(503, "The runner went away.", True),
    "runner_incomplete_response": _platform(502, "The runner answered in part.", True),
    "runner_server_error": _platform(500, "The runner failed.", True),
    "internal_error": _platform(500, "The platform failed.", True),
    "client_cancelled": _platform(499, "The request was cancelled."),
    "client_disconnected": _platform(499, "The caller went away."),
    "bad_request": _platform(400, "The request makes no sense."),
}

LOCKED: Final = (
    b'{"detail":"User is locked. Reason: Exhausted balance.'
    b' Top up your balance at fal.ai/dashboard/billing."}'
)
"""What a submit is told once the prepaid balance is spent, or ``submit-403`` asks for it."""
TOO_MANY: Final = b'{"detail":"Too many requests.","error_type":"concurrent_requests_limit"}'
"""What ``submit-429`` says, and a direct call while all runners of its key are busy."""
GATEWAY: Final = "nginx"
"""Whose ``server`` header the pages of a gateway bear."""


def gateway_page(title: str) -> bytes:
    """The page of a proxy in front of the platform, such as ``502 Bad Gateway``."""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    ).encode()


SUBMIT_REFUSALS: Final[Mapping[str, tuple[str, bytes]]] = {
    "401": ("application/json", b'{"detail":"invalid key credentials"}'),
    "403": ("application/json", LOCKED),
    "422": (
        "application/json",
        b'{"detail":[{"loc":["body"],"msg":"refused on request","type":"value_error"}]}',
    ),
    "429": ("application/json", TOO_MANY),
    "500": ("application/json", b'{"detail":"The platform failed.","error_type":"internal_error"}'),
    "502": ("text/html", gateway_page("502 Bad Gateway")),
    "503": ("text/html", gateway_page("503 Service Temporarily Unavailable")),
    "504": ("text/html", gateway_page("504 Gateway Time-out")),
}
"""Answers to a submit that is not accepted: status → (content type, body)."""


def detail_item(loc: list[str | int], message: str, error_type: str, given: Any) -> dict[str, Any]:
    """One entry of a model error's ``detail`` list; `given` is the offending input."""
    url = f"https://docs.fal.ai/errors#{error_type}"
    return {"loc": loc, "msg": message, "type": error_type, "url": url, "input": given}
