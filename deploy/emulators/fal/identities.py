"""Who a caller is to the provider: derived from the API key, and never the key itself."""

from __future__ import annotations

from hashlib import sha256


def owner_of(key: str) -> str:
    """The digest that stands for an API key wherever something belongs to it."""
    return sha256(key.encode()).hexdigest()[:16]


def user_id(owner: str) -> str:
    """The user id a webhook names, which a customer pins; stable for one API key."""
    return f"user_{owner}"
