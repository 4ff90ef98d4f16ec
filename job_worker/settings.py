"""The worker's environment, read once and checked as a whole."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from job_worker.errors import BadSettings

Value = TypeVar("Value")

PLACES_DEFAULT: Final = 32
PROCESSES_DEFAULT: Final = 1

VARIABLES: Final[Mapping[str, str]] = {
    "LEDGER_URL": "base URL of the ledger",
    "LEDGER_WORK_KEY": "API key with the scope `work`",
    "VALKEY_URL": "where the doorbell rings (redis:// or unix://)",
    "FAL_KEY": "key for fal.ai",
    "FAL_ADMIN_KEY": "key for fal.ai that may delete payloads (FAL_KEY)",
    "STORAGE_URL": "where media are kept: file:///absolute/folder or s3://bucket/prefix",
    "FAL_QUEUE_URL": "fal's queue (https://queue.fal.run)",
    "FAL_API_URL": "fal's platform API (https://api.fal.ai/v1)",
    "FAL_MEDIA_HOSTS": "hosts that media may come from (fal.media,*.fal.media)",
    "PROVIDER_LISTING_COMPLETE": "1: a submit that the listing lacks was never accepted (0)",
    "THUMBNAILS": "1: store a still of each result; needs the extra `thumbnails` (0)",
    "WORKER_PLACES": f"generations carried at once in one process ({PLACES_DEFAULT})",
    "WORKER_PROCESSES": f"processes ({PROCESSES_DEFAULT})",
    "WORKER_METRICS_PORT": "where the first process shows its figures, 0: nowhere (0)",
    "WORKER_METRICS_HOST": "the address they are shown at (127.0.0.1)",
    "LEDGER_AUDIT_KEY": "keys of the scope `audit`, one for each tenant: reconcile daily (none)",
}
"""Every variable with its meaning; a default stands in brackets."""


class Secret(msgspec.Struct, frozen=True):
    """A text that must not appear in logs: its representation hides it."""

    value: str

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process needs to know; `VARIABLES` explains each.

    `fal_admin_key` is empty where `fal_key` has its rights as well. `provider_listing_complete` may
    be set only where the provider lists every accepted submit at once (the emulator does): a submit
    that is missing there is then tried again.
    """

    ledger_url: str
    ledger_work_key: Secret
    valkey_url: Secret
    fal_key: Secret
    fal_admin_key: Secret = Secret("")
    fal_queue_url: str
    fal_api_url: str
    fal_media_hosts: tuple[str, ...]
    storage_url: str
    provider_listing_complete: bool
    places: int
    processes: int
    thumbnails: bool = False
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    audit_keys: tuple[Secret, ...] = ()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings, or raise `BadSettings` with every fault at once."""
    reader = _Reader(environment)
    settings = Settings(
        ledger_url=reader.read("LEDGER_URL", _http_url),
        ledger_work_key=reader.read("LEDGER_WORK_KEY", Secret),
        valkey_url=reader.read("VALKEY_URL", _valkey_url),
        fal_key=reader.read("FAL_KEY", Secret),
        fal_admin_key=Secret(environment.get("FAL_ADMIN_KEY", "").strip()),
        fal_queue_url=reader.read("FAL_QUEUE_URL", _http_url, "https://queue.fal.run"),
        fal_api_url=reader.read("FAL_API_URL", _http_url, "https://api.fal.ai/v1"),
        fal_media_hosts=reader.read("FAL_MEDIA_HOSTS", _hosts, "fal.media,*.fal.media"),
        storage_url=reader.read("STORAGE_URL", _storage_url),
        provider_listing_complete=reader.read("PROVIDER_LISTING_COMPLETE", _flag, "0"),
        places=reader.read("WORKER_PLACES", _count, str(PLACES_DEFAULT)),
        processes=reader.read("WORKER_PROCESSES", _count, str(PROCESSES_DEFAULT)),
        thumbnails=reader.read("THUMBNAILS", _thumbnails, "0"),
        metrics_port=reader.read("WORKER_METRICS_PORT", _port, "0"),
        metrics_host=reader.read("WORKER_METRICS_HOST", str, "127.0.0.1"),
        audit_keys=reader.read("LEDGER_AUDIT_KEY", _secrets, ","),
    )
    if reader.faults:
        raise BadSettings(tuple(reader.faults))
    return settings


class _Reader:
    """Collects faults instead of stopping at the first."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.faults: list[str] = []

    def read(self, name: str, parse: Callable[[str], Value], default: str = "") -> Value:
        """Parse one variable; after a fault the value is never used, so any will do."""
        text = self._environment.get(name, "").strip() or default
        if not text:
            self.faults.append(f"{name} is not set: {VARIABLES[name]}")
            return None  # type: ignore[return-value]
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append(f"{name}: {error}")
            return None  # type: ignore[return-value]


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// URL")
    return text.rstrip("/")


def _valkey_url(text: str) -> Secret:
    if urlsplit(text).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must be a redis://, rediss:// or unix:// URL")
    return Secret(text)


def _storage_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return text
    if parts.scheme == "s3" and parts.netloc:
        return text
    raise ValueError("must be file:///absolute/folder or s3://bucket/prefix")


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip().lower() for host in text.split(",") if host.strip())


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("must be 0 or 1")
    return text == "1"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise ValueError("must be a whole number from 0 to 65535")
    return int(text)


def _secrets(text: str) -> tuple[Secret, ...]:
    return tuple(Secret(part.strip()) for part in text.split(",") if part.strip())


def _thumbnails(text: str) -> bool:
    wanted = _flag(text)
    if wanted and importlib.util.find_spec("av") is None:
        raise ValueError("1 needs PyAV, which is not installed: it is the extra `thumbnails`")
    return wanted


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise ValueError("must be a whole number from 1 to 256")
    return int(text)
