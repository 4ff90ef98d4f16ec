"""More misbehaviours: of the run, the result, the media. `directives.py` reads them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KNOWN: Final[Mapping[str, str]] = {
    "drop-submit": "not accepted: the connection is cut and no job exists; =COUNT only so often",
    "stuck-in-queue": "never leaves the queue, until it is cancelled or its start timeout strikes",
    "regress": "=SECONDS back in the queue, under a new gateway_request_id, after its first run",
    "fail-body": "completes with an error; its body is =list, flat, string or (a 502) page",
    "retryable": "completes with an error; its retry headers say =true, false, or are absent",
    "quiet-status": "completes with an error that the status does not mention",
    "nsfw": "a black picture or film, flagged in has_nsfw_concepts, with a 200",
    "big-result": "the result is larger than 10 KB, so it expires in a tenth of the time",
    "half-result": "the result breaks off in mid-document the first =COUNT times (1)",
    "result-502": "the result is a gateway's HTML page the first =COUNT times (1)",
    "status-404": "the status is a 404 the first =COUNT times (1)",
    "status-500": "the status is a 500 the first =COUNT times (1)",
    "status-502": "the status is a gateway's HTML page the first =COUNT times (1)",
    "media-huge": "the media states eight gibibytes and never ends",
    "media-private": "the media's URL points at a private address",
    "media-wrong-length": "the film is longer or shorter than asked for, and than the result says",
}
SECONDS: Final = frozenset({"regress"})
COUNTS: Final = frozenset(
    {"drop-submit", "half-result", "result-502", "status-404", "status-500", "status-502"}
)
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "fail-body": ("list", "flat", "string", "page"),
    "retryable": ("true", "false", "absent"),
}
FAILURES: Final = ("fail", "fail-body", "retryable", "quiet-status")
"""Each of these makes a job fail, with `internal_error` unless ``fail=TYPE`` says otherwise."""
