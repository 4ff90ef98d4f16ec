"""What the API reads from a request's headers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from contracts.limits import IDEMPOTENCY_KEY_MAX_CHARACTERS
from contracts.problems import FieldError, ProblemCode
from ledger_service.errors import Rejected

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_NO_TRACE: Final = b"0" * 32
# Unique, not secret. A system call here would let go of the interpreter and wait to get it back.
_MARKS: Final = random.Random()
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,%d}" % IDEMPOTENCY_KEY_MAX_CHARACTERS)


class Headers:
    """Headers by lower-case name; asking for one that came twice is an error."""

    __slots__ = ("_raw", "_values")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)
        self._values = dict(self._raw)

    def get(self, name: bytes) -> bytes | None:
        """The value, or None. Raises `Rejected` when there are several."""
        value = self._values.get(name)
        if value is None or len(self._values) == len(self._raw):
            return value
        if sum(1 for given, _ in self._raw if given == name) > 1:
            raise Rejected(
                ProblemCode.VALIDATION_FAILED,
                errors=(FieldError(name.decode(), "this header must come once"),),
            )
        return value

    def any(self, name: bytes) -> bytes | None:
        """A value of a header on which nothing depends, or None."""
        return self._values.get(name)

    def every(self, name: bytes) -> list[bytes]:
        """All values of a header that may come several times."""
        return [value for given, value in self._raw if given == name]


class Trace(NamedTuple):
    """Whose request this is part of (32 hex digits), and this request's own mark in it (16)."""

    trace_id: str
    span_id: str

    def of_part(self, number: int) -> Trace:
        """A mark of its own for each command of a request, as each request has one."""
        return Trace(self.trace_id, f"{(int(self.span_id, 16) + number) % 2**64:016x}")


def trace_of(headers: Headers) -> Trace:
    """Continue the caller's W3C trace, or begin one."""
    fresh = f"{_MARKS.getrandbits(192):048x}"
    given = headers.any(b"traceparent")
    found = _TRACEPARENT.fullmatch(given) if given else None
    if found is None or found[1] == _NO_TRACE:
        return Trace(fresh[:32], fresh[32:])
    return Trace(found[1].decode(), fresh[32:])


def idempotency_key(headers: Headers) -> str:
    """The key without the quotes that it may come in."""
    value = headers.get(b"idempotency-key")
    if value is None or value.strip() == b"":
        raise Rejected(ProblemCode.IDEMPOTENCY_KEY_MISSING)
    return readable_key(value)


def readable_key(value: bytes) -> str:
    """`"abc"` and `abc` are the same key."""
    bare = value[1:-1] if len(value) > 2 and value[:1] == value[-1:] == b'"' else value
    if not _KEY.fullmatch(bare):
        fault = f"must be 1 to {IDEMPOTENCY_KEY_MAX_CHARACTERS} visible ASCII characters"
        raise Rejected(
            ProblemCode.VALIDATION_FAILED, errors=(FieldError("Idempotency-Key", fault),)
        )
    return bare.decode()
