"""Links that prove themselves: webhook tokens and expiring media URLs."""

from __future__ import annotations

import hashlib
import hmac


class Signer:
    """HMAC-SHA-256 under one secret; each purpose signs in a space of its own."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, purpose: str, *parts: str | int) -> str:
        """A token for these parts."""
        message = "\n".join([purpose, *map(str, parts)])
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()

    def is_genuine(self, token: str, purpose: str, *parts: str | int) -> bool:
        """Whether the token was made for exactly these parts."""
        return hmac.compare_digest(token.encode(), self.sign(purpose, *parts).encode())
