"""What a webhook says and how it is signed: as fal does it, or as a prompt asks for it.

The signature is Ed25519 over ``request id \\n user id \\n timestamp \\n sha256hex(body)``, in hex.
"""

from __future__ import annotations

import base64
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.emulators.fal import outcomes
from deploy.emulators.fal.identities import owner_of, user_id
from deploy.emulators.fal.records import Job

OLD_SECONDS: Final = 3600.0
"""How far back ``webhook-old-timestamp`` signs; receivers believe 300 s."""
OTHER_USER_ID: Final = user_id(owner_of("somebody else's key"))
_KEY_BYTES: Final = 32
_PUBLISHED_MAX: Final = 2
"""After a rotation the key before it stays published, for what it has signed."""


class Signer:
    """The provider's key pairs, kept in a file so that a restart does not change them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        raw = path.read_bytes() if path.exists() else b""
        starts = range(0, len(raw), _KEY_BYTES)
        keys = [Ed25519PrivateKey.from_private_bytes(raw[i : i + _KEY_BYTES]) for i in starts]
        self._keys = keys  # the newest last
        if not keys:
            self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self._keys.append(Ed25519PrivateKey.generate())
        _write_private(self._path, b"".join(key.private_bytes_raw() for key in self._keys))

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set (RFC 8037)."""
        return {"keys": [_jwk(key) for key in self._keys[-_PUBLISHED_MAX:]]}

    def headers(self, request_id: str, user: str, body: bytes, now: float) -> dict[str, str]:
        """The four headers that prove a body to be the provider's."""
        timestamp = str(int(now))
        message = "\n".join((request_id, user, timestamp, sha256(body).hexdigest()))
        return {
            "x-fal-webhook-request-id": request_id,
            "x-fal-webhook-user-id": user,
            "x-fal-webhook-timestamp": timestamp,
            "x-fal-webhook-signature": self._keys[-1].sign(message.encode()).hex(),
        }


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = key.public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": x[:8], "x": x}


def _write_private(path: Path, content: bytes) -> None:
    """Create the file in one step: a kill in between must not leave half a key."""
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    os.replace(draft, path)


def sealed(job: Job, signer: Signer, tries: int, now: float) -> tuple[dict[str, str], bytes]:
    """Headers and body of one delivery; `tries` is how many went before it."""
    asked = job.directives
    if "webhook-rotated-key" in asked and tries == 0:
        signer.rotate()
    body = body_of(job)
    headers = signer.headers(
        unknown_request_id(job) if "webhook-unknown-job" in asked else job.request_id,
        OTHER_USER_ID if "webhook-other-user" in asked else user_id(job.owner),
        body,
        now - OLD_SECONDS if "webhook-old-timestamp" in asked else now,
    )
    if "webhook-bad-signature" in asked:
        headers["x-fal-webhook-signature"] = "00" * 64
    return {**headers, "content-type": "application/json"}, body


def body_of(job: Job) -> bytes:
    """The webhook's JSON body for a job that has completed."""
    asked = job.directives
    is_wrong = "webhook-unknown-job" in asked or "webhook-wrong-request-id" in asked
    answer = outcomes.result(job, job.origin)
    body = {
        "request_id": unknown_request_id(job) if is_wrong else job.request_id,
        "gateway_request_id": job.gateway_request_id,
        "status": "OK" if job.error_type is None else "ERROR",
        "payload": answer.body,
    }
    if job.error_type is not None:
        body["error"] = outcomes.error_text(job)
    if "webhook-no-payload" in asked:
        body |= {"payload": None, "payload_error": "The payload could not be serialized."}
    return msgspec.json.encode(body)


def unknown_request_id(job: Job) -> str:
    """The id of a request that nobody ever submitted; the same in each delivery."""
    return str(uuid5(NAMESPACE_URL, job.request_id))
