"""What of a request is personal or free text, and so belongs into the vault."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

_CODE: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")


class Kept(NamedTuple):
    """`reason` as the event may have it, and what the vault gets instead (null: nothing)."""

    reason: str | None
    private: dict[str, Any] | None


def kept(*, reason: str | None = None, metadata: dict[str, Any] | None = None) -> Kept:
    """A reason that reads like a code stays in the event; any other text may name a person."""
    is_code = reason is not None and _CODE.fullmatch(reason) is not None
    private: dict[str, Any] = {}
    if reason is not None and not is_code:
        private["reason"] = reason
    if metadata:
        private["metadata"] = metadata
    return Kept(reason if is_code else None, private or None)
