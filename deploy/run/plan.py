"""Which processes make up the ledger on this machine, and what each is told.

PostgreSQL, Valkey, fal and the storage are each replaced when the environment names a real one.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from deploy.emulators.fal.identities import owner_of, user_id
from deploy.run.child import Command
from deploy.run.env import Options, Secrets, with_role
from deploy.run.host import (
    MACHINE_STATE,
    ServiceUser,
    can_reach,
    free_port,
    make_folder,
    write_private,
)
from deploy.run.postgres import PostgresCluster
from deploy.run.supervise import Child
from deploy.run.valkey import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent.parent
DATABASE, OWNER, APP = "ledger", "ledger_owner", "ledger_app"
CALLER_SCOPES = ["grant", "spend", "refund", "read", "audit", "admin"]

# A recovery after a crash may take long, and the previous server may still be closing.
PATIENT_ATTEMPTS = 12
PATIENT_SECONDS = 300.0
FAL_CONCURRENCY = 40
"""Jobs in progress at the emulator: as many as fal gives to its paying customers by itself."""
# Clockwork and worker listen on nothing; who has lived this long has read its settings.
SETTLE_SECONDS = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The children in starting order, and what `RUN_DIR/env` says besides their pids."""

    children: list[Child]
    env: dict[str, str]


class Planner:
    """Turns options into a plan. Creates the folders and data files that the plan needs."""

    def __init__(self, options: Options, kept: Secrets, user: ServiceUser | None) -> None:
        self.options = options
        self.kept = kept
        self.user = user
        self.children: list[Child] = []
        self.port = options.ledger_port or free_port()
        self.ledger_url = f"http://127.0.0.1:{self.port}"
        self.data = self._data_folder()

    def plan(self) -> Plan:
        """Return everything to run, in the order to start it."""
        database, owner = self._database()
        valkey = self._valkey()
        fal = self._fal()
        storage = self._storage()
        self._ledger(database, owner, valkey, storage, self._webhook_keys(fal))
        self._worker(valkey, fal, storage)
        env = {
            "LEDGER_URL": self.ledger_url,
            "LEDGER_API_KEY": self.kept.demo_key,
            "LEDGER_READ_KEY": self.kept.read_key,
            "LEDGER_WORK_KEY": self.kept.work_key,
            "LEDGER_OPERATE_KEY": self.kept.operate_key,
            "METRICS_TOKEN": self._secret("METRICS_TOKEN", self.kept.metrics_token),
            "OTHER_TENANT_API_KEY": self.kept.other_tenant_key,
            "DATABASE_URL": database,
            "DATABASE_OWNER_URL": owner,
            "VALKEY_URL": valkey,
            "FAL_URL": fal["FAL_QUEUE_URL"],
            "STORAGE_URL": storage,
            "VAULT_KEY": self._secret("VAULT_KEY", self.kept.vault_key),
            "WEBHOOK_SECRET": self._secret("WEBHOOK_SECRET", self.kept.webhook_secret),
        }
        return Plan(children=self.children, env=env)

    # --- what the services stand on -----------------------------------------------------------

    def _data_folder(self) -> Path:
        """Database files live in the run folder, unless their user could not reach them there."""
        if can_reach(self.options.run_dir, self.user):
            return self.options.run_dir
        return MACHINE_STATE / self.kept.state_id

    def _database(self) -> tuple[str, str]:
        """Return the URLs of the application's role and of the owner."""
        given, owner = self.options.database_url, self.options.database_owner_url
        if given and owner:
            return given, owner
        if given:
            return with_role(given, APP, self.kept.app_password), given
        cluster = PostgresCluster(
            folder=self.data / "postgres",
            port=free_port(),
            password=self.kept.superuser_password,
            user=self.user,
        )
        cluster.create()
        owner = cluster.url(OWNER, self.kept.owner_password, DATABASE)

        def ready() -> bool:
            if not cluster.is_ready():
                return False
            cluster.ensure_database(DATABASE, OWNER, self.kept.owner_password)
            return True

        self._add_server(cluster.command(), ready, cluster.port)
        return with_role(owner, APP, self.kept.app_password), owner

    def _valkey(self) -> str:
        if self.options.valkey_url:
            return self.options.valkey_url
        server = ValkeyServer(
            folder=self.data / "valkey",
            port=free_port(),
            password=self.kept.valkey_password,
            user=self.user,
        )
        self._add_server(server.command(), server.is_ready, server.port)
        return server.url

    def _fal(self) -> dict[str, str]:
        """Return what the worker is told about fal: the real one's key, or the emulator's."""
        if self.options.fal_key:
            given = _given("FAL_ADMIN_KEY", "FAL_QUEUE_URL", "FAL_API_URL", "FAL_MEDIA_HOSTS")
            real = {"FAL_KEY": self.options.fal_key, "FAL_QUEUE_URL": "https://queue.fal.run"}
            return {**real, **given}
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        state = make_folder(self.options.run_dir / "fal", None)
        arguments = [
            *("--port", str(port), "--state-dir", str(state)),
            *("--key", self.kept.fal_key, "--allow-loopback-webhooks"),
            *("--concurrency", str(FAL_CONCURRENCY)),
        ]
        emulator = Child(
            command=python_command("fal", "deploy.emulators.fal", *arguments, env={}),
            ready=_answers(f"{url}/health"),
            address=f"{url}/admin  (emulator; FAL_KEY replaces it with fal.ai)",
        )
        self.children.append(emulator)
        return {
            "FAL_KEY": self.kept.fal_key,
            "FAL_QUEUE_URL": url,
            "FAL_API_URL": f"{url}/v1",
            "FAL_MEDIA_HOSTS": f"127.0.0.1:{port}",
            # The emulator lists a submit in the moment it accepts it; of fal.ai nobody knows.
            "PROVIDER_LISTING_COMPLETE": "1",
        }

    def _webhook_keys(self, fal: Mapping[str, str]) -> dict[str, str]:
        """Return how the ledger tells the provider's webhooks from forged ones."""
        if self.options.fal_key:
            return _given("FAL_WEBHOOK_JWKS_URL", "FAL_WEBHOOK_USER_ID", "FAL_WEBHOOK_SIGNATURES")
        return {
            "FAL_WEBHOOK_JWKS_URL": f"{fal['FAL_QUEUE_URL']}/.well-known/jwks.json",
            "FAL_WEBHOOK_USER_ID": user_id(owner_of(fal["FAL_KEY"])),
        }

    def _storage(self) -> str:
        if self.options.storage_url:
            return self.options.storage_url
        return make_folder(self.options.run_dir / "media", None).as_uri()

    # --- the services -------------------------------------------------------------------------

    def _ledger(
        self, database: str, owner: str, valkey: str, storage: str, keys: Mapping[str, str]
    ) -> None:
        env = {
            **keys,
            "DATABASE_URL": database,
            "VALKEY_URL": valkey,
            "VAULT_KEY": self._secret("VAULT_KEY", self.kept.vault_key),
            "WEBHOOK_SECRET": self._secret("WEBHOOK_SECRET", self.kept.webhook_secret),
            "WEBHOOK_BASE_URL": self._webhook_base_url(),
            "STORAGE_URL": storage,
            "LEDGER_HOST": "127.0.0.1",
            "LEDGER_PORT": str(self.port),
            **_given("MODERATION_URL", "MODERATION_SECRET", "MODERATION_ON_FAILURE"),
            "METRICS_TOKEN": self._secret("METRICS_TOKEN", self.kept.metrics_token),
        }
        migrating = {**env, "DATABASE_OWNER_URL": owner}
        if not (self.options.database_url and self.options.database_owner_url):
            migrating["LEDGER_APP_PASSWORD"] = self.kept.app_password
        self._add_step("migrate", "migrate", env=migrating, after=self._started("postgres"))
        keys_file = str(self._keys_file())
        self._add_step("keys", "keys", "ensure", "--file", keys_file, env=env, after=("migrate",))
        serve = python_command("ledger", "ledger_service", "serve", env=env, stop_seconds=15.0)
        is_ready = _answers(f"{self.ledger_url}/health/ready")
        address = f"{self.ledger_url}/docs"
        self.children.append(Child(command=serve, after=("keys",), ready=is_ready, address=address))
        clockwork = python_command("clockwork", "ledger_service", "clockwork", env=env)
        self.children.append(
            Child(command=clockwork, after=("keys",), settle_seconds=SETTLE_SECONDS)
        )

    def _worker(self, valkey: str, fal: Mapping[str, str], storage: str) -> None:
        env = {
            **fal,
            "LEDGER_URL": self.ledger_url,
            "LEDGER_WORK_KEY": self.kept.work_key,
            "LEDGER_AUDIT_KEY": f"{self.kept.audit_key},{self.kept.other_tenant_audit_key}",
            "VALKEY_URL": valkey,
            "STORAGE_URL": storage,
        }
        worker = Child(
            command=python_command("worker", "job_worker", env=env, stop_seconds=15.0),
            after=("ledger", *self._started("valkey", "fal")),
            settle_seconds=SETTLE_SECONDS,
            address=f"media in {storage}",
        )
        self.children.append(worker)

    def _keys_file(self) -> Path:
        """Write the keys that this run hands out; the ledger stores their digests only."""

        def entry(tenant: str | None, name: str, scopes: list[str], key: str) -> dict[str, object]:
            return {"tenant": tenant, "name": name, "scopes": scopes, "key": key}

        kept = self.kept
        keys = [
            entry("demo", "one-machine run", CALLER_SCOPES, kept.demo_key),
            entry("demo", "one-machine run, reading", ["read"], kept.read_key),
            entry("other", "one-machine run", CALLER_SCOPES, kept.other_tenant_key),
            entry(None, "job worker", ["work"], kept.work_key),
            entry(None, "one-machine run, operating", ["operate"], kept.operate_key),
            entry("demo", "daily comparison", ["audit"], kept.audit_key),
            entry("other", "daily comparison", ["audit"], kept.other_tenant_audit_key),
        ]
        path = self.options.run_dir / "keys.json"
        write_private(path, msgspec.json.encode(keys).decode())
        return path

    # --- small helpers ------------------------------------------------------------------------

    def _add_server(self, command: Command, ready: Callable[[], bool], port: int) -> None:
        server = Child(
            command=command,
            ready=ready,
            start_attempts=PATIENT_ATTEMPTS,
            start_seconds=PATIENT_SECONDS,
            address=f"127.0.0.1:{port}",
        )
        self.children.append(server)

    def _add_step(
        self, name: str, *arguments: str, env: Mapping[str, str], after: tuple[str, ...]
    ) -> None:
        command = python_command(name, "ledger_service", *arguments, env=env)
        self.children.append(Child(command=command, after=after, once=True))

    def _started(self, *names: str) -> tuple[str, ...]:
        """Return those of `names` that this run starts itself."""
        return tuple(child.name for child in self.children if child.name in names)

    def _webhook_base_url(self) -> str:
        """Return where the provider can reach us: fal.ai only where the environment says."""
        given = os.environ.get("WEBHOOK_BASE_URL", "")
        return given if given or self.options.fal_key else self.ledger_url

    def _secret(self, name: str, kept: str) -> str:
        # Whoever brings a database along brings the key of its vault along as well; and a collector
        # of figures has its own token.
        return os.environ.get(name) or kept


def python_command(
    name: str,
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    stop_seconds: float = 10.0,
) -> Command:
    """Return `python -m module` from the checkout, told nothing but `env` and where things are."""
    return Command(
        name=name,
        args=(sys.executable, "-m", module, *arguments),
        env={**_inherited(), "PYTHONUNBUFFERED": "1", **env},
        cwd=ROOT,
        stop_seconds=stop_seconds,
    )


def _given(*names: str) -> dict[str, str]:
    """Return those of these variables that our environment has."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _inherited() -> dict[str, str]:
    """Return what every process needs of our environment: places and certificates, no secrets."""
    names = (
        *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE"),
        *("THUMBNAILS", "PUBLIC_URL"),
    )
    # What STORAGE_URL may need; the worker's sizes; deadlines; models and prices; files' lives;
    # outages.
    prefixes = (
        *("AWS_", "WORKER_", "GENERATION_", "DEADLINE_", "CATALOGUE_"),
        *("LEFTOVERS_", "UPLOAD_", "PROVIDER_DOWN_"),
    )
    return {
        key: value for key, value in os.environ.items() if key in names or key.startswith(prefixes)
    }


def _answers(url: str) -> Callable[[], bool]:
    """Return a probe that is true once `url` answers with 200."""

    def probe() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - our own URL
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return probe
