"""A request's body, from bytes that anyone may have sent to a checked Struct.

The bytes are judged first (type, size, depth, duplicate names, NUL), then the shape: numbers with
a fraction pass only where a shape takes anything. Whatever is wrong is a `Rejected` that says
where; nothing else can come out of here.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from litestar.types import Receive

from contracts.limits import JSON_DEPTH_MAX, METADATA_MAX_BYTES
from contracts.problems import FieldError, ProblemCode
from ledger_service.api.headers import Headers
from ledger_service.errors import Rejected

Shape = TypeVar("Shape")

BODY_WAIT_SECONDS: Final = 10.0
"""How long the rest of a body may take to arrive; only a stalled or hostile sender needs it."""
INTEGER_MAX: Final = 2**63 - 1

_JSON: Final = re.compile(rb'\s*application/json\s*(;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_MESSAGE: Final = re.compile(r"(.+?)(?: - at (?:`key` in )?`\$(.*)`)?", re.DOTALL)
_NAMED_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DECODER: Final = msgspec.json.Decoder()
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


def fault(pointer: str, detail: str) -> Rejected:
    """A `validation_failed` about one place of the request."""
    return Rejected(ProblemCode.VALIDATION_FAILED, errors=(FieldError(pointer, detail),))


async def read_body(receive: Receive, headers: Headers, size_max: int) -> bytes:
    """The raw body, at most `size_max` bytes, whether its length was announced or not."""
    media_type = headers.get(b"content-type")
    encoding = headers.get(b"content-encoding")
    if media_type is None or not _JSON.fullmatch(media_type) or encoding not in {None, b"identity"}:
        raise Rejected(ProblemCode.UNSUPPORTED_MEDIA_TYPE, media_types=("application/json",))
    announced = headers.get(b"content-length")
    if announced is not None and int(announced) > size_max:
        raise too_large(size_max)
    message: Any = await receive()
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
    else:
        body = await _rest(receive, message["body"], size_max)
    if len(body) > size_max:
        raise too_large(size_max)
    return body


async def _rest(receive: Receive, body: bytes, size_max: int) -> bytes:
    try:
        async with asyncio.timeout(BODY_WAIT_SECONDS):
            while len(body) <= size_max:
                message: Any = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise fault("", f"the body did not arrive within {BODY_WAIT_SECONDS:g} s") from None
    return body


def too_large(size_max: int) -> Rejected:
    """A `payload_too_large` for a body of more than `size_max` bytes."""
    return Rejected(ProblemCode.PAYLOAD_TOO_LARGE, size_max_bytes=size_max)


def parse_json(raw: bytes) -> Any:
    """JSON as plain objects, each name at most once in its object."""
    if raw.count(b"[") + raw.count(b"{") > JSON_DEPTH_MAX and _depth(raw) > JSON_DEPTH_MAX:
        raise fault("", f"nested deeper than {JSON_DEPTH_MAX} levels")
    try:
        document = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise fault("", f"not JSON: {error}") from None
    # Each name is followed by a colon, so there are at least as many colons as names: if they
    # are as many as the names that arrived, no name came twice. Else texts hold colons, or it did.
    if raw.count(b":") != _count_names(document):
        json.loads(raw, object_pairs_hook=_unique)
    if b"\\u0000" in raw:
        _refuse_nul(document)
    return document


def canonical(document: Any) -> bytes:
    """The document with sorted names and no blanks: what a fingerprint is taken of."""
    return _CANONICAL.encode(document)


def to_struct(document: Any, shape: type[Shape]) -> Shape:
    """The checked Struct; types are taken as written, never converted."""
    try:
        struct = msgspec.convert(document, shape, strict=True)
    except msgspec.ValidationError as error:
        raise shape_fault(error) from None
    metadata = getattr(struct, "metadata", None)
    if metadata:
        _check_metadata(metadata)
    return struct


def in_utc(at: datetime | None, pointer: str) -> datetime | None:
    """The same instant in UTC, in which all times are told. Raises `Rejected` when its offset
    carries it out of the calendar."""
    try:
        return None if at is None else at.astimezone(UTC)
    except OverflowError:
        raise fault(pointer, "must lie within the years 1 to 9999 in UTC") from None


def shape_fault(error: msgspec.ValidationError) -> Rejected:
    """msgspec's `… - at `$.lots[0].amount`` as a JSON pointer and a sentence."""
    found = _MESSAGE.fullmatch(str(error))
    assert found is not None
    detail, path = found[1], found[2] or ""
    # The name in an unknown or missing field's message is the field itself, not its object.
    named = _NAMED_FIELD.fullmatch(detail)
    pointer = path.replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
    if named:
        pointer += "/" + named[1].replace("~", "~0").replace("/", "~1")
    return fault(pointer, detail)


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    for name, value in metadata.items():
        if isinstance(value, int) and abs(value) > INTEGER_MAX:
            raise fault(f"/metadata/{name}", "integer out of range")
    if len(_CANONICAL.encode(metadata)) > METADATA_MAX_BYTES:
        raise fault("/metadata", f"larger than {METADATA_MAX_BYTES} bytes as JSON")


def _depth(raw: bytes) -> int:
    """The deepest nesting; brackets inside strings do not count."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", raw).translate(None, _NO_BRACKETS):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise fault(
            "/" + twice.replace("~", "~0").replace("/", "~1"), "this name comes twice in one object"
        )
    return found


def _count_names(document: Any) -> int:
    names, todo = 0, [document]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            names += len(node)
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return names


def _refuse_nul(document: Any) -> None:
    """PostgreSQL cannot keep NUL in a text, and an escape smuggles it past every other check."""
    todo = [document]
    while todo:
        node = todo.pop()
        if isinstance(node, str) and "\x00" in node:
            raise fault("", "text must not contain NUL")
        if isinstance(node, dict):
            todo += node.keys()
            todo += node.values()
        elif isinstance(node, list):
            todo += node
