"""API keys."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

import msgspec

from contracts.api.common import Reply, Request


class Scope(enum.StrEnum):
    """What a key may do."""

    GRANT = "grant"
    SPEND = "spend"
    REFUND = "refund"
    READ = "read"
    WORK = "work"
    AUDIT = "audit"
    ADMIN = "admin"
    OPERATE = "operate"


class CreateKeyRequest(Request, frozen=True, kw_only=True):
    """Make a key for the caller's own tenant; `work` and `operate` are not for tenants."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(Scope))]


class ApiKey(Reply, frozen=True, kw_only=True):
    """A key without its secret."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None


class CreatedKey(Reply, frozen=True, kw_only=True):
    """The only answer that ever shows the secret."""

    key: ApiKey
    secret: str


class KeysReply(Reply, frozen=True, kw_only=True):
    """The tenant's keys, newest first."""

    items: tuple[ApiKey, ...]
