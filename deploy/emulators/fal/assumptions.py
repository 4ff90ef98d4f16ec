"""What nobody outside of fal knows: each open point is one switch, ``--assume NAME=CHOICE``.

The defaults are what the emulator takes for likely. ``make check-fal`` asks fal.ai itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec


class Assumptions(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """One choice for each open point; `MEANINGS` has the words."""

    bad_key: Literal["plain", "typed"] = "plain"
    early_result: Literal["400", "202", "404"] = "400"
    expired: Literal["404", "410"] = "404"
    queued_cancel: Literal["completed", "gone"] = "completed"
    running_cancel: Literal["finishes", "stops"] = "finishes"
    cancel_billing: Literal["none", "full"] = "none"
    moderation: Literal["result", "locked"] = "result"
    refusal_billing: Literal["none", "full"] = "none"
    tag_filter: Literal["ignored", "honoured"] = "ignored"


MEANINGS: Final[Mapping[str, str]] = {
    "bad-key": "the 401's body: plain has a detail alone, typed an error_type as well",
    "early-result": "what a result is before its job has ended: a 400, the status as a 202, a 404",
    "expired": "what a request is told once its time is over",
    "queued-cancel": "a job cancelled in the queue: completed as client_cancelled, or gone (404)",
    "running-cancel": "an ordinary model that is cancelled while it runs: finishes, or stops",
    "cancel-billing": "what is billed for a job that a cancel has stopped: none of it, or full",
    "moderation": "a refused prompt: told in the result, or at the submit in the 403 lock's words",
    "refusal-billing": "what is billed for a refused prompt: none of it, or full",
    "tag-filter": "tags=NAME=VALUE on the listing of past requests: ignored, or honoured",
}


def parse(texts: Iterable[str]) -> Assumptions:
    """Read values of ``--assume``; raises `ValueError` for what is not an open point."""
    given = {}
    for text in texts:
        name, separator, choice = text.partition("=")
        if not separator or name not in MEANINGS:
            raise ValueError(f"not NAME=CHOICE with one of {', '.join(MEANINGS)}: {text}")
        given[name] = choice
    return msgspec.convert(given, Assumptions)


def choices() -> dict[str, tuple[str, ...]]:
    """Every open point's choices, the default first."""
    found = {}
    for field in msgspec.structs.fields(Assumptions):
        others = [choice for choice in field.type.__args__ if choice != field.default]
        found[field.encode_name] = (field.default, *others)
    return found
