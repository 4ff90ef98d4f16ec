"""Field types that several resources share, each with its bounds."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec

from contracts import limits

Item = TypeVar("Item")

# In patterns: Python's `$` also matches before a final line break, hence `(?!\n)`.

Amount = Annotated[int, msgspec.Meta(ge=1, le=limits.AMOUNT_MAX_CREDITS)]
"""Credits of one movement; the verb gives the direction."""
AccountId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_\-.:]+$(?!\n)")
]
"""Chosen by the caller and opaque: never an e-mail address or a name."""
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.REFERENCE_MAX_CHARACTERS)]
"""The caller's own id of the business fact; kept for ever, so never personal."""
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.REASON_MAX_CHARACTERS)]
Tag = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-.:/]+$(?!\n)")
]
Tags = Annotated[tuple[Tag, ...], msgspec.Meta(max_length=limits.TAGS_MAX)]
Unit = Annotated[
    str, msgspec.Meta(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_\-.]+$(?!\n)")
]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with an offset; answers are in UTC."""
CreditLimit = Annotated[int, msgspec.Meta(ge=0, le=limits.CREDIT_LIMIT_MAX_CREDITS)]
MetadataKey = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Metadata = Annotated[
    dict[MetadataKey, str | int | bool | None],
    msgspec.Meta(max_length=limits.METADATA_KEYS_MAX),
]


class Source(enum.StrEnum):
    """Where a grant's credits come from."""

    PURCHASE = "purchase"
    PROMO = "promo"
    SIGNUP = "signup"
    SUBSCRIPTION = "subscription"
    ADJUSTMENT = "adjustment"
    MIGRATION = "migration"


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every request body."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every response body."""


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """One page of a list, newest first; pass `next_cursor` back for the next one."""

    items: tuple[Item, ...]
    next_cursor: str | None


class LotAmount(msgspec.Struct, frozen=True, kw_only=True):
    """Credits taken from, or given back to, one grant; in a dry run it may be yet to be made."""

    grant_id: str | None
    amount: int
