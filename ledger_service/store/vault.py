"""The vault: personal data and free text, encrypted under a key per owner.

Events hold only the SHA-256 of the ciphertext. Destroying an owner's key erases what the vault
holds of them, and the log still verifies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import AsyncConnection, AsyncRawCursor

from ledger_service.errors import CorruptHistory
from ledger_service.store.statements import load_statements

_NONCE_BYTES: Final = 12
_KEY_BITS: Final = 256

_SQL: Final = load_statements("vault")


class Sealed(msgspec.Struct, frozen=True):
    """An entry that is ready to be stored."""

    owner: str
    digest: bytes
    ciphertext: bytes


class Vault:
    """Seals and opens entries; `master_key` (32 bytes) wraps the owners' keys."""

    def __init__(self, master_key: bytes) -> None:
        self._master = AESGCM(master_key)

    def new_key(self, owner: str) -> tuple[bytes, bytes]:
        """A fresh key for an owner, and its wrapped form for storage."""
        key = AESGCM.generate_key(_KEY_BITS)
        nonce = os.urandom(_NONCE_BYTES)
        return key, nonce + self._master.encrypt(nonce, key, owner.encode())

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """An owner's key. Raises `CorruptHistory` under another master key."""
        try:
            return self._master.decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], owner.encode()
            )
        except InvalidTag:
            raise CorruptHistory("a subject key does not open with this VAULT_KEY") from None

    def seal(self, owner: str, key: bytes, content: dict[str, Any]) -> Sealed:
        """Encrypt an entry; it is stored and referred to by the digest of its ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = msgspec.json.encode(content)
        ciphertext = nonce + AESGCM(key).encrypt(nonce, plain, owner.encode())
        return Sealed(owner, hashlib.sha256(ciphertext).digest(), ciphertext)

    def unseal(self, owner: str, key: bytes, ciphertext: bytes) -> dict[str, Any]:
        """Decrypt an entry. Raises `CorruptHistory` when it was sealed otherwise."""
        try:
            plain = AESGCM(key).decrypt(
                ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:], owner.encode()
            )
        except InvalidTag:
            raise CorruptHistory("an entry of the vault does not open") from None
        content: dict[str, Any] = msgspec.json.decode(plain)
        return content

    async def open_many(
        self, connection: AsyncConnection[Any], wanted: Iterable[tuple[str, str]]
    ) -> dict[str, dict[str, Any] | None]:
        """Entries by digest in hex; None for those that were erased."""
        pairs = list(wanted)
        owners = [owner for owner, _ in pairs]
        digests = [bytes.fromhex(digest) for _, digest in pairs]
        found: dict[str, dict[str, Any] | None] = {digest: None for _, digest in pairs}
        cursor = AsyncRawCursor(connection)
        await cursor.execute(_SQL["open_many"].encode(), (owners, digests))
        for owner, digest, ciphertext, wrapped in await cursor.fetchall():
            key = self.unwrap(owner, wrapped)
            found[digest.hex()] = self.unseal(owner, key, ciphertext)
        return found
