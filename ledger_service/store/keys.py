"""API keys as stored: the secret's digest, never the secret.

A key is `ck_<id>_<secret>`: a public id, and 256 random bits that need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncRawCursor

from contracts.api.keys import Scope
from ledger_service.store.pool import Connection
from ledger_service.store.statements import load_statements

KEY_MAX_CHARACTERS: Final = 200
OF_NO_TENANT: Final = frozenset((Scope.WORK, Scope.OPERATE))
"""Scopes of those who serve all tenants: each for keys of its own."""
_KEY: Final = re.compile(r"ck_([0-9a-zA-Z]{1,64})_([0-9a-zA-Z]{32,128})")
_TENANT: Final = re.compile(r"[A-Za-z0-9_\-.:]{1,64}")
_SQL: Final = load_statements("keys")


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key's row. Tenant null: a worker's key or an operator's, for all tenants and for the one
    scope `work` or `operate`."""

    key_id: str
    tenant: str | None
    name: str
    scopes: tuple[Scope, ...]
    secret_sha256: bytes
    created_at: datetime
    revoked_at: datetime | None


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be stored, with the text that its holder will send."""

    tenant: str | None
    name: str
    scopes: tuple[Scope, ...]
    key: str

    @property
    def fault(self) -> str | None:
        """Why it cannot be a key; None when it can."""
        if parse_key(self.key) is None:
            return "a key reads ck_<id>_<secret>"
        of_none = OF_NO_TENANT.intersection(self.scopes)
        if (self.tenant is None) != bool(of_none) or (of_none and len(self.scopes) > 1):
            return "the scopes work and operate are for keys without a tenant, each for its own"
        if self.tenant is not None and not _TENANT.fullmatch(self.tenant):
            return "a tenant's name has 1 to 64 of A-Z a-z 0-9 _ - . :"
        if not self.scopes or not 1 <= len(self.name) <= 64:
            return "a key needs a scope, and a name of 1 to 64 characters"
        return None


def make_key_text() -> str:
    """A fresh key."""
    return f"ck_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def parse_key(text: str) -> tuple[str, bytes] | None:
    """Id and the secret's SHA-256; None for what is no key at all."""
    found = _KEY.fullmatch(text) if len(text) <= KEY_MAX_CHARACTERS else None
    return (found[1], hashlib.sha256(found[2].encode()).digest()) if found else None


async def find_key(connection: Connection, key_id: str) -> StoredKey | None:
    """A key by its public id, revoked or not."""
    rows = await _rows(connection, "find_key", (key_id,))
    return rows[0] if rows else None


async def list_keys(connection: Connection, tenant: str | None) -> list[StoredKey]:
    """A tenant's keys, newest first; of null: those of workers and operators."""
    return await _rows(connection, "list_keys", (tenant,))


async def add_key(connection: Connection, new: NewKey) -> StoredKey:
    """Store a fresh key."""
    return (await _rows(connection, "add_key", _values(new)))[0]


async def ensure_key(connection: Connection, new: NewKey) -> StoredKey:
    """Store a key that may be there already, as it is described now."""
    return (await _rows(connection, "ensure_key", _values(new)))[0]


async def revoke_key(connection: Connection, key_id: str, tenant: str | None) -> StoredKey | None:
    """Revoke a key of this tenant, once and for all; None when there is none."""
    rows = await _rows(connection, "revoke_key", (key_id, tenant))
    return rows[0] if rows else None


def _values(new: NewKey) -> tuple[Any, ...]:
    assert new.fault is None, new.fault
    parsed = parse_key(new.key)
    assert parsed is not None
    key_id, digest = parsed
    return key_id, new.tenant, new.name, [str(scope) for scope in new.scopes], digest


async def _rows(connection: Connection, name: str, values: tuple[Any, ...]) -> list[StoredKey]:
    cursor = AsyncRawCursor(connection)
    await cursor.execute(_SQL[name], values)
    return [
        StoredKey(
            key_id=row[0],
            tenant=row[1],
            name=row[2],
            scopes=tuple(Scope(scope) for scope in row[3]),
            secret_sha256=row[4],
            created_at=row[5],
            revoked_at=row[6],
        )
        for row in await cursor.fetchall()
    ]
