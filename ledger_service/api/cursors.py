"""Cursors: opaque, and good only for the list and the filters that they come from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from contracts.problems import ProblemCode
from ledger_service.errors import Rejected

_TAG_BYTES: Final = 12


class Cursors:
    """Makes and reads cursors; `secret` must be the same in all processes."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.blake2b(secret, person=b"cursors", digest_size=32).digest()

    def make(self, place: str, *of: object) -> str:
        """A cursor to `place` in the list that `of` (route, account, filters) names."""
        return base64.urlsafe_b64encode(self._tag(place, of) + place.encode()).decode().rstrip("=")

    def read(self, cursor: str, *of: object) -> str:
        """The place in that same list. Raises `Rejected` for anything else."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            place = raw[_TAG_BYTES:].decode()
        except (binascii.Error, ValueError):
            raise Rejected(ProblemCode.CURSOR_INVALID) from None
        if not hmac.compare_digest(raw[:_TAG_BYTES], self._tag(place, of)):
            raise Rejected(ProblemCode.CURSOR_INVALID)
        return place

    def _tag(self, place: str, of: tuple[object, ...]) -> bytes:
        text = repr((place, of)).encode()
        return hashlib.blake2b(text, key=self._key, digest_size=_TAG_BYTES).digest()
