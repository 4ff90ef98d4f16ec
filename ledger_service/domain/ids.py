"""Identifiers: owners, streams, and ids that locate their event by primary key.

An id is a prefix and the base32 of 48 bits of milliseconds, 64 bits that name the stream, and
40 bits of version: unique, ordered in time, and decodable to the row it stands for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ID_CHARACTERS = 31
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_TRIPLES = ["".join(three) for three in product(_DIGITS, repeat=3)]


class LocatedId(NamedTuple):
    """What an id says: when, in which stream (a 64-bit digest) and at which version."""

    milliseconds: int
    stream_uid: int
    version: int


def owner_of(tenant: str, account_id: str) -> str:
    """The owner of everything that belongs to one account; also the account's stream."""
    return f"{tenant}/{account_id}"


def split_owner(owner: str) -> tuple[str, str]:
    """Tenant and account id of an owner."""
    tenant, _, account_id = owner.partition("/")
    return tenant, account_id


def policy_owner(tenant: str) -> str:
    """The owner, and the stream, of a tenant's policy: no account id has such a character."""
    return f"{tenant}/~policy"


def is_policy(stream: str) -> bool:
    """Whether a stream is that of a tenant's policy."""
    return stream.endswith("/~policy")


def generation_stream(owner: str, generation_id: str) -> str:
    """The stream of one generation."""
    return f"{owner}/{generation_id}"


def generation_in(stream: str) -> str:
    """The id of the generation whose stream it is."""
    return stream.rpartition("/")[2]


def owner_of_stream(stream: str) -> str:
    """Whose stream it is: an account's own, or that of one of its generations."""
    return "/".join(stream.split("/", 2)[:2])


@lru_cache(maxsize=16_384)
def stream_uid(stream: str) -> int:
    """64 bits that stand for a stream inside ids (the head of its SHA-256)."""
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8])


def milliseconds_of(at: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (at - EPOCH) // _MILLISECOND


def make_id(prefix: str, at: datetime, stream: str, version: int) -> str:
    """The id of the thing that the event (stream, version), recorded at `at`, brought about."""
    assert 0 < version < 1 << 40, version
    first, middle, last = _stream_digits(stream)
    tail = last << 43 | version << 3  # 152 bits are filled up to 31 digits of 5
    high, low = _TRIPLES[tail >> 30], _TRIPLES[tail >> 15 & 32767]
    return f"{prefix}_{_time_digits(at, first)}{middle}{high}{low}{_TRIPLES[tail & 32767]}"


def first_id(prefix: str, milliseconds: int) -> str:
    """The ids with this prefix of what was brought about in this millisecond since 1970, or later,
    sort after this; those of all before it do not."""
    return f"{prefix}_{_render(max(milliseconds, 0) << 2, 10)}"


@lru_cache(maxsize=256)
def _time_digits(at: datetime, bits: int) -> str:
    """The first ten digits: the time, and the first two bits of the stream's."""
    return _render(milliseconds_of(at) << 2 | bits, 10)


@lru_cache(maxsize=16_384)
def _stream_digits(stream: str) -> tuple[int, str, int]:
    """What a stream is in each of its ids: two bits, twelve digits, two bits."""
    uid = stream_uid(stream)
    return uid >> 62, _render(uid >> 2 & (1 << 60) - 1, 12), uid & 3


def locate(prefix: str, text: str) -> LocatedId | None:
    """Decode an id; None when it is not one of ours with this prefix."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != _ID_CHARACTERS:
        return None
    try:
        packed = int.from_bytes(base64.b32hexdecode(digits.upper() + "="))
    except (binascii.Error, ValueError):
        return None
    if f"{prefix}_{_render(packed << 3, _ID_CHARACTERS)}" != text:
        return None  # one thing has one id: no other spelling of it may pass for a second one
    found = LocatedId(packed >> 104, packed >> 40 & (1 << 64) - 1, packed & (1 << 40) - 1)
    return found if found.version > 0 else None


def version_in(prefix: str, text: str, stream: str) -> int | None:
    """The version that an id names in `stream`; None when it belongs elsewhere."""
    found = locate(prefix, text)
    if found is None or found.stream_uid != stream_uid(stream):
        return None
    return found.version


def _render(number: int, digits: int) -> str:
    """Base32 with extended hex digits; the library's encoder is ten times as slow."""
    return "".join([_DIGITS[number >> 5 * place & 31] for place in range(digits - 1, -1, -1)])
