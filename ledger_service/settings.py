"""Settings, read once from the environment into typed, bounded values."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from contracts.limits import LEFTOVERS_AFTER_SECONDS, QUOTE_SECONDS, UPLOAD_SECONDS
from ledger_service.errors import RefusedToStart

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
MetricsToken = Annotated[str, msgspec.Meta(pattern=r"^([!-~]{16,256})?\Z")]
UserId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,256}\Z")]

SECRET_CHARACTERS_MIN: Final = 16
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="upper"):
    """Everything that the ledger's processes take from outside.

    `database_url` is for the serving role; `database_owner_url` for migrations alone.
    `vault_key` is the master key of personal data (32 bytes, base64url); `webhook_secret` signs
    webhook and media links. An empty `webhook_base_url` means that providers are only polled.
    `public_url` is how callers reach the ledger; when it is empty, links go by the Host header.
    Webhooks are verified with the keys at `fal_webhook_jwks_url`, and must name
    `fal_webhook_user_id`, our user id at fal, if it is set. With `fal_webhook_signatures` off, or
    while there are no webhooks, nothing is fetched, and a webhook is never more than a hint.
    `moderation_url` is asked before an order is taken, signed with `moderation_secret`; without a
    ruling of its, an order is refused or accepted as `moderation_on_failure` says.
    `catalogue_file` holds models and prices in place of those that are shipped.
    `metrics_token` opens /metrics, which does not exist without it. A generation
    that a provider which takes nothing of us has kept waiting for `provider_down_refund_seconds`,
    counted from its first attempt, is refunded; without that setting it waits up to its deadline.
    `leftovers_after_seconds` after the end of a generation, files that are no result of it go: no
    worker may still be storing one by then, so only tests have reason to shorten it.
    `upload_seconds`: how long what callers gave as inputs can be fetched, and is kept.
    """

    database_url: str
    database_owner_url: str = ""
    ledger_app_password: str = ""
    valkey_url: str = ""
    vault_key: str = ""
    webhook_secret: str = ""
    webhook_base_url: str = ""
    fal_webhook_jwks_url: str = "https://rest.fal.ai/.well-known/jwks.json"
    fal_webhook_user_id: UserId = ""
    fal_webhook_signatures: Literal["required", "off"] = "required"
    moderation_url: str = ""
    moderation_secret: str = ""
    moderation_on_failure: Literal["refuse", "accept"] = "refuse"
    storage_url: str = ""
    catalogue_file: str = ""
    public_url: str = ""
    ledger_host: str = "127.0.0.1"
    ledger_port: Port = 8080
    generation_deadline_seconds: Seconds | None = None
    deadline_grace_seconds: Seconds = 3600
    leftovers_after_seconds: Seconds = LEFTOVERS_AFTER_SECONDS
    upload_seconds: Seconds = UPLOAD_SECONDS
    quote_seconds: Seconds = QUOTE_SECONDS
    metrics_token: MetricsToken = ""
    provider_down_refund_seconds: Seconds | None = None

    @property
    def owner_url(self) -> str:
        """Where migrations run."""
        return self.database_owner_url or self.database_url

    @property
    def verifies_webhooks(self) -> bool:
        """Whether a webhook must prove who sent it."""
        return self.webhook_base_url != "" and self.fal_webhook_signatures == "required"

    @property
    def provider_patience(self) -> timedelta | None:
        """How long after its first attempt a generation waits for a provider that takes nothing
        of us."""
        seconds = self.provider_down_refund_seconds
        return None if seconds is None else timedelta(seconds=seconds)

    def key_set_url(self) -> str:
        """Where the keys of webhooks are. Raises `RefusedToStart` when others could swap them on
        their way."""
        return _private("FAL_WEBHOOK_JWKS_URL", self.fal_webhook_jwks_url)

    def moderation(self) -> tuple[str, bytes] | None:
        """Where orders are moderated, and the secret shared with it; None: nowhere. Raises
        `RefusedToStart` when others could read the orders or answer them."""
        if self.moderation_url == "":
            return None
        url = _private("MODERATION_URL", self.moderation_url)
        return url, _secret("MODERATION_SECRET", self.moderation_secret)

    def master_key(self) -> bytes:
        """The 32 bytes of `VAULT_KEY`. Raises `RefusedToStart` when it is not that."""
        try:
            key = base64.urlsafe_b64decode(self.vault_key + "=" * (-len(self.vault_key) % 4))
        except ValueError:
            key = b""
        if len(key) != 32:
            raise RefusedToStart("VAULT_KEY must be 32 bytes in base64url")
        return key

    def signing_secret(self) -> bytes:
        """Raises `RefusedToStart` when `WEBHOOK_SECRET` is too short to sign with."""
        return _secret("WEBHOOK_SECRET", self.webhook_secret)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. Raises `RefusedToStart` and names what is wrong, never its value."""
    source = os.environ if environment is None else environment
    names = {field.encode_name for field in msgspec.structs.fields(Settings)}
    given = {name: value for name, value in source.items() if name in names and value != ""}
    try:
        return msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedToStart(f"environment: {error}") from None


def _private(name: str, url: str) -> str:
    """An address that nobody on the way can listen to: plain HTTP is for this machine alone."""
    try:
        parts = urlsplit(url)
        schemes = ("https", "http") if parts.hostname in _LOOPBACK else ("https",)
        is_sound = parts.hostname and parts.port != 0 and parts.scheme in schemes
    except ValueError:
        is_sound = False
    if not is_sound:
        raise RefusedToStart(f"{name} must be an https:// URL")
    return url


def _secret(name: str, text: str) -> bytes:
    if len(text) < SECRET_CHARACTERS_MIN:
        raise RefusedToStart(f"{name} must have at least {SECRET_CHARACTERS_MIN} characters")
    return text.encode()
