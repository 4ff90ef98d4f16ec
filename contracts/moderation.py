"""The moderation hook: what the ledger asks of an operator's endpoint before it takes an order.

It POSTs an `Inquiry` as JSON and reads a `Ruling` from a 200. Two headers prove who asks:

    X-Ledger-Timestamp: 1764080000
    X-Ledger-Signature: <hex HMAC-SHA-256 of timestamp, a full stop and the raw body>

Whoever answers verifies the raw bytes with `is_genuine` before it parses them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Final

import msgspec

TIMESTAMP_HEADER: Final = "X-Ledger-Timestamp"
SIGNATURE_HEADER: Final = "X-Ledger-Signature"
AGE_MAX_SECONDS: Final = 300
"""A signature further away from the receiver's clock than this may be a replay."""


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """An order that has not been taken yet. `input` is all of what the model would be told,
    `theme` what it was ordered by; of a `dry_run` nothing will come."""

    tenant: str
    account_id: str
    model: str
    input: dict[str, Any]
    theme: str | None = None
    dry_run: bool = False


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint says. `reason` is a code of its own for a refusal, up to 64 of
    `a-z 0-9 _ . -`; anything else is taken for none."""

    allow: bool
    reason: Any = None


def signature_of(secret: bytes, timestamp: str, body: bytes) -> str:
    """What stands in `X-Ledger-Signature`."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_genuine(secret: bytes, timestamp: str, signature: str, body: bytes, now: float) -> bool:
    """Whether the ledger sent this body at about `now` (seconds since 1970)."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 16):
        return False
    expected = signature_of(secret, timestamp, body)
    is_recent = abs(now - int(timestamp)) <= AGE_MAX_SECONDS
    return hmac.compare_digest(signature.encode(), expected.encode()) and is_recent
