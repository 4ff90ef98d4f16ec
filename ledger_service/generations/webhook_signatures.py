"""Whether a webhook is its provider's: an Ed25519 signature over ids, time and body.

Pure: headers, body, keys and the time are arguments. What is signed is::

    request id \\n user id \\n timestamp \\n sha256hex(body)
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Keys = tuple[Ed25519PublicKey, ...]

WINDOW_SECONDS: Final = 300
"""How far a signature's time may lie from ours, either way: an older one may be a replay."""
KEYS_MAX: Final = 32
"""Keys of one set that are tried; each costs a tenth of a millisecond per webhook."""
KEY_BYTES: Final = 32

REQUEST_ID_HEADER: Final = b"x-fal-webhook-request-id"
USER_ID_HEADER: Final = b"x-fal-webhook-user-id"
TIMESTAMP_HEADER: Final = b"x-fal-webhook-timestamp"
SIGNATURE_HEADER: Final = b"x-fal-webhook-signature"

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_USER_ID: Final = re.compile(rb"[\x21-\x7e]{1,256}")
_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")
_SIGNATURE: Final = re.compile(rb"[0-9A-Fa-f]{128}")


class Verdict(enum.Enum):
    """How much of a webhook is believed.

    GENUINE: all that it says. STALE: that something happened: it is the provider's, but was signed
    so long ago that it may be a replay. UNSIGNED: the same, where no signature is asked for.
    FORGED: nothing.
    """

    GENUINE = "genuine"
    STALE = "stale"
    UNSIGNED = "unsigned"
    FORGED = "forged"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The four headers of a webhook, well-formed and not believed yet.

    Ids and time stay as they were sent, because that is what is signed; `signature` is 64 bytes.
    """

    request_id: bytes
    user_id: bytes
    timestamp: bytes
    signature: bytes


def read_proof(header: Callable[[bytes], bytes | None]) -> Proof | None:
    """The proof that a request brings; None when a part of it is missing or malformed.

    No part can hold a line break, so no two sets of headers are signed as the same text.
    """
    request_id = header(REQUEST_ID_HEADER) or b""
    user_id = header(USER_ID_HEADER) or b""
    timestamp = header(TIMESTAMP_HEADER) or b""
    signature = header(SIGNATURE_HEADER) or b""
    is_well_formed = (
        _REQUEST_ID.fullmatch(request_id)
        and _USER_ID.fullmatch(user_id)
        and _TIMESTAMP.fullmatch(timestamp)
        and _SIGNATURE.fullmatch(signature)
    )
    if not is_well_formed:
        return None
    return Proof(
        request_id=request_id,
        user_id=user_id,
        timestamp=timestamp,
        signature=bytes.fromhex(signature.decode()),
    )


def judge(proof: Proof, body: bytes, keys: Keys, now: float) -> Verdict:
    """GENUINE, STALE or FORGED. `body` is raw, to the byte; `now` in seconds since 1970."""
    digest = hashlib.sha256(body).hexdigest().encode()
    message = b"\n".join((proof.request_id, proof.user_id, proof.timestamp, digest))
    if not any(_verifies(key, proof.signature, message) for key in keys):
        return Verdict.FORGED
    if abs(now - int(proof.timestamp)) > WINDOW_SECONDS:
        return Verdict.STALE
    return Verdict.GENUINE


def _verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def read_keys(document: bytes) -> Keys:
    """The Ed25519 keys of a JSON Web Key Set (RFC 8037); keys of other kinds are passed over.

    Raises ValueError when there is none.
    """
    found = msgspec.json.decode(document, type=_KeySet).keys
    raw = [_raw_key(key) for key in found[:KEYS_MAX]]
    keys = tuple(Ed25519PublicKey.from_public_bytes(key) for key in raw if len(key) == KEY_BYTES)
    if not keys:
        raise ValueError("no Ed25519 key in the set")
    return keys


def _raw_key(key: Mapping[str, Any]) -> bytes:
    """The key's bytes, or none of them for a key that is no Ed25519 key."""
    x = key.get("x")
    kind = (key.get("kty", "OKP"), key.get("crv", "Ed25519"))
    if not isinstance(x, str) or kind != ("OKP", "Ed25519"):
        return b""
    try:
        return base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))
    except ValueError:
        return b""
