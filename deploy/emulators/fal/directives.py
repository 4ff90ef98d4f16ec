"""Misbehaviour on request: ``[[fal:NAME]]`` or ``[[fal:NAME=VALUE]]`` anywhere in a prompt.

Several directives may stand in one prompt. A name that is not in `KNOWN` is an error, because a
misspelt directive would turn a test of a failure into a test of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from deploy.emulators.fal import modes
from deploy.emulators.fal.errors import CATALOGUE, SUBMIT_REFUSALS

KNOWN: Final[Mapping[str, str]] = {
    "fail": "completes with an error; =TYPE picks one of fal's error types",
    "422": "completes, and the result is a 422 content_policy_violation",
    "no-asset": "completes with a 200 whose media is null",
    "slow": "=SECONDS the job stays in progress",
    "stuck": "in progress for ever, until it is cancelled",
    "cooperative": "a cancel while in progress ends the job with a 499",
    "unknown-status": "a status word nobody has heard of until the job completes",
    "result-500": "the result is a 500 the first =COUNT times (1), then what it should be",
    "lost-submit": "accepted, runs, and the answer to the submit never comes",
    "reset-submit": "accepted, runs, and the connection is cut instead of an answer",
    "half-submit": "accepted, runs, and the answer is half a JSON document",
    "no-urls": "accepted, and the answer holds the request id alone",
    "slow-submit": "=SECONDS until the answer to the submit",
    "media-404": "the media's URL answers 404",
    "media-truncated": "the media ends before its stated length, and the connection closes",
    "media-wrong-type": "the media's URL answers an HTML page with a 200",
    "media-redirect": "the media's URL redirects to another host",
    "media-foreign": "the media's URL points at a host that is not the provider's",
    "no-webhook": "no webhook is sent (also written webhook-only=no)",
    "webhook-late": "=SECONDS between completion and the webhook",
    "webhook-twice": "the webhook is delivered twice",
    "webhook-first": "the answer to the submit waits until the webhook has been delivered",
    "webhook-after-cancel": "the webhook waits until the job has ended and a cancel was asked for",
    "webhook-bad-signature": "the webhook's signature does not verify",
    "webhook-rotated-key": "signed with a new key; the key set shows the one before it as well",
    "webhook-old-timestamp": "the webhook was signed an hour ago",
    "webhook-other-user": "the webhook is signed for another user's id",
    "webhook-wrong-request-id": "the webhook's body names another request than its headers",
    "webhook-unknown-job": "the webhook names a request that nobody submitted, headers and body",
    "webhook-no-payload": "the webhook says payload_error and carries no payload",
    **{
        f"submit-{status}": f"not accepted: the submit answers {status}; =COUNT only so often"
        for status in SUBMIT_REFUSALS
    },
    **modes.KNOWN,
}
_PATTERN: Final = re.compile(r"\[\[fal:([^\]=]*)(?:=([^\]]*))?\]\]")
_SECONDS: Final = {"slow", "slow-submit", "webhook-late", *modes.SECONDS}
_COUNTS: Final = {
    *("result-500", *modes.COUNTS),
    *(f"submit-{status}" for status in SUBMIT_REFUSALS),
}


class BadDirective(ValueError):
    """A directive that this emulator cannot obey."""

    def __init__(self, text: str) -> None:
        super().__init__(f"unknown directive or value: {text}")
        self.text = text


class Directives(msgspec.Struct, frozen=True):
    """The directives of one prompt, by name; the value is empty where none was given."""

    given: Mapping[str, str]

    def __contains__(self, name: str) -> bool:
        assert name in KNOWN, name
        return name in self.given

    def number(self, name: str, default: float) -> float:
        """The directive's value; `default` when it is absent or has no value."""
        return float(self.given.get(name) or default)

    def choice(self, name: str) -> str | None:
        """The directive's value; None when it is absent."""
        assert name in KNOWN, name
        return self.given.get(name)

    def failure(self) -> str | None:
        """The error type the job shall end with, if the prompt asks for one."""
        if "422" in self:
            return "content_policy_violation"
        if not any(name in self for name in modes.FAILURES):
            return None
        return self.given.get("fail") or "internal_error"


def parse(prompt: str) -> Directives:
    """Read every directive of a prompt; `BadDirective` names the first that makes no sense."""
    given: dict[str, str] = {}
    for match in _PATTERN.finditer(prompt):
        name, value = match[1], match[2] or ""
        if (name, value) == ("webhook-only", "no"):
            name, value = "no-webhook", ""
        if name not in KNOWN or not _sensible(name, value):
            raise BadDirective(match[0])
        given[name] = value
    return Directives(given)


def written(name: str) -> tuple[str, ...]:
    """Every way to write a directive that differs in kind; 3 stands for any number of seconds."""
    if name == "fail":
        values: tuple[str, ...] = tuple(CATALOGUE)
    elif name in modes.CHOICES:
        values = modes.CHOICES[name]
    else:
        values = ("" if _sensible(name, "") else "3",)
    return tuple(f"[[fal:{name}={value}]]" if value else f"[[fal:{name}]]" for value in values)


def _sensible(name: str, value: str) -> bool:
    if name == "fail":
        return value == "" or value in CATALOGUE
    if name in modes.CHOICES:
        return value in modes.CHOICES[name]
    if name in _SECONDS:
        return bool(re.fullmatch(r"\d{1,5}(\.\d{1,6})?", value, re.ASCII))
    if name in _COUNTS:
        return value == "" or bool(re.fullmatch(r"\d{1,5}", value, re.ASCII))
    return value == ""
