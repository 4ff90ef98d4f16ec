"""What a run is told, what it keeps secret, and what it tells others.

Told by environment variables; secrets are made once per run folder and stay in it; others read
`RUN_DIR/env`, shell `KEY=value` lines that always describe the processes alive now.
"""

from __future__ import annotations

import base64
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from deploy.run.host import write_private


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The launcher's settings. An empty address means: run that part here."""

    run_dir: Path
    ledger_port: int = 8080
    demo: bool = True
    database_url: str = ""
    database_owner_url: str = ""
    valkey_url: str = ""
    fal_key: str = ""
    storage_url: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Options:
        """Read the settings; raises ValueError for a port that is no port."""
        port = int(environ.get("LEDGER_PORT", "8080"))
        if not 0 <= port <= 65_535:
            raise ValueError(f"LEDGER_PORT={port} is no port")
        return cls(
            run_dir=Path(environ.get("RUN_DIR") or ".run").resolve(),
            ledger_port=port,
            # Unasked, the demo spends nobody's money at the real fal.ai.
            demo=environ.get("DEMO", "0" if environ.get("FAL_KEY") else "1") != "0",
            database_url=environ.get("DATABASE_URL", ""),
            database_owner_url=environ.get("DATABASE_OWNER_URL", ""),
            valkey_url=environ.get("VALKEY_URL", ""),
            fal_key=environ.get("FAL_KEY", ""),
            storage_url=environ.get("STORAGE_URL", ""),
        )


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must not change between two starts over the same data."""

    state_id: str = msgspec.field(default_factory=lambda: secrets.token_hex(8))
    superuser_password: str = msgspec.field(default_factory=lambda: secrets.token_hex(24))
    owner_password: str = msgspec.field(default_factory=lambda: secrets.token_hex(24))
    app_password: str = msgspec.field(default_factory=lambda: secrets.token_hex(24))
    valkey_password: str = msgspec.field(default_factory=lambda: secrets.token_hex(24))
    vault_key: str = msgspec.field(default_factory=lambda: _key_of_32_bytes())
    webhook_secret: str = msgspec.field(default_factory=lambda: secrets.token_hex(32))
    fal_key: str = msgspec.field(default_factory=lambda: "emulator:" + secrets.token_hex(16))
    demo_key: str = msgspec.field(default_factory=lambda: _api_key())
    read_key: str = msgspec.field(default_factory=lambda: _api_key())
    other_tenant_key: str = msgspec.field(default_factory=lambda: _api_key())
    work_key: str = msgspec.field(default_factory=lambda: _api_key())
    operate_key: str = msgspec.field(default_factory=lambda: _api_key())
    audit_key: str = msgspec.field(default_factory=lambda: _api_key())
    other_tenant_audit_key: str = msgspec.field(default_factory=lambda: _api_key())
    metrics_token: str = msgspec.field(default_factory=lambda: secrets.token_hex(32))

    @classmethod
    def keep(cls, path: Path) -> Secrets:
        """Read the secrets of an earlier run, or make and write them (mode 0600)."""
        if path.exists():
            known = msgspec.json.decode(path.read_bytes(), type=cls)
        else:
            known = cls()
        write_private(path, msgspec.json.format(msgspec.json.encode(known)).decode() + "\n")
        return known


def _key_of_32_bytes() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _api_key() -> str:
    return f"ck_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def with_role(url: str, role: str, password: str) -> str:
    """Return a libpq URL that logs in as another role: same server, same database."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password)}@{place}"))


def write_env(path: Path, values: Mapping[str, str], pids: Mapping[str, int]) -> None:
    """Rewrite the env file in one step (mode 0600); `pids` become PID_<NAME>."""
    lines = {**values, **{f"PID_{name.upper()}": str(pid) for name, pid in pids.items()}}
    write_private(path, "".join(f"{key}={shlex.quote(lines[key])}\n" for key in lines))


def read_env(path: Path) -> dict[str, str]:
    """Read an env file back."""
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {key: "".join(shlex.split(value)) for key, _, value in pairs}
