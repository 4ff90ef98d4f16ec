"""Who is asking, and may they?

Keys are looked up once per `KEY_CACHE_SECONDS`, so a revoked one is out of force within that
time everywhere, and at once in the process that revoked it. Unknown ids are remembered as well.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from typing import Final, NoReturn

import msgspec

from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.errors import Rejected
from ledger_service.store.keys import StoredKey, find_key, parse_key
from ledger_service.store.pool import ReadPool

KEY_CACHE_SECONDS: Final = 30.0
CACHED_KEYS_MAX: Final = 10_000
_NOBODY: Final = bytes(32)  # compared with when there is no such key, to take the same time


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. Workers and operators have no tenant."""

    key_id: str
    tenant: str | None
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """How events name the caller."""
        return f"key:{self.key_id}"


class _Known(msgspec.Struct, frozen=True):
    """What the database said about a key id, and until when that is taken for granted."""

    identity: Identity | None
    secret_sha256: bytes
    expires_at: float


class Authenticator:
    """Turns an Authorization header into an `Identity`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[_Known]] = {}
        self._admitted: dict[bytes, tuple[str, _Known]] = {}

    async def identify(self, authorization: bytes | None) -> Identity:
        """Raises `Rejected` (unauthenticated), or `Unavailable` when nobody can tell."""
        admitted = self._admitted.get(authorization or b"")
        if admitted is not None:
            key_id, known = admitted
            # Only as long as the very same word of the database is taken for granted.
            is_current = self._known.get(key_id) is known and known.expires_at >= time.monotonic()
            if is_current and known.identity is not None:
                return known.identity
        return await self._look(authorization)

    async def _look(self, authorization: bytes | None) -> Identity:
        key_id, digest = _read(authorization)
        known = self._known.get(key_id)
        if known is None or known.expires_at < time.monotonic():
            known = await self._ask_once(key_id)
        if not hmac.compare_digest(known.secret_sha256, digest) or known.identity is None:
            _refuse()
        if len(self._admitted) >= CACHED_KEYS_MAX:
            self._admitted.clear()
        self._admitted[authorization or b""] = (key_id, known)
        return known.identity

    def forget(self, key_id: str) -> None:
        """Look this key up afresh next time."""
        self._known.pop(key_id, None)

    async def _ask_once(self, key_id: str) -> _Known:
        """However many requests arrive with an unknown key, one of them asks."""
        task = self._asking.get(key_id)
        if task is None:
            task = self._asking[key_id] = asyncio.create_task(self._ask(key_id))
            task.add_done_callback(lambda _: self._asking.pop(key_id, None))
        return await asyncio.shield(task)

    async def _ask(self, key_id: str) -> _Known:
        stored = await self._pool.read(lambda connection: find_key(connection, key_id))
        known = _known(stored, time.monotonic() + KEY_CACHE_SECONDS)
        self._known.pop(key_id, None)
        while len(self._known) >= CACHED_KEYS_MAX:
            del self._known[next(iter(self._known))]  # the one that was looked up first
        self._known[key_id] = known
        return known


def permit(identity: Identity, scopes: tuple[Scope, ...]) -> None:
    """Raises `Rejected` (forbidden) unless the caller has one of `scopes`."""
    if identity.scopes.isdisjoint(scopes):
        raise Rejected(ProblemCode.FORBIDDEN, needed_scope=" or ".join(scopes))


def _read(authorization: bytes | None) -> tuple[str, bytes]:
    scheme, _, text = (authorization or b"").decode("latin-1").partition(" ")
    parsed = parse_key(text.strip()) if scheme.lower() == "bearer" else None
    return parsed or _refuse()


def _known(stored: StoredKey | None, expires_at: float) -> _Known:
    if stored is None or stored.revoked_at is not None:
        return _Known(None, _NOBODY, expires_at)
    identity = Identity(key_id=stored.key_id, tenant=stored.tenant, scopes=frozenset(stored.scopes))
    return _Known(identity, stored.secret_sha256, expires_at)


def _refuse() -> NoReturn:
    raise Rejected(ProblemCode.UNAUTHENTICATED)
