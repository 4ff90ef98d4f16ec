"""`serve` refuses to start where the ledger's promises could not be kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from deploy.run.host import free_port
from deploy.run.plan import APP
from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.store.boot import check_boot
from tests.fixtures.live import environment
from tests.fixtures.services import TEMPLATE, Cluster, Database

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def as_superuser(database: Database, statement: str) -> None:
    """Run one statement; `{db}` stands for the database's name, `{app}` for the serving role."""
    query = sql.SQL(statement).format(db=sql.Identifier(database.name), app=sql.Identifier(APP))
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(query)


def test_a_proper_database_is_accepted(database: Database) -> None:
    """A migrated, durable primary, seen by the serving role."""
    check_boot(database.url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (lambda database: database.owner_url, "owns the schema"),
        (lambda database: database.superuser_url, "superuser"),
    ],
)
def test_a_role_that_could_change_history_is_refused(
    database: Database, url: Callable[[Database], str], reason: str
) -> None:
    """Neither the owner nor a superuser serves."""
    with pytest.raises(RefusedToStart, match=reason):
        check_boot(url(database))


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("ALTER DATABASE {db} SET synchronous_commit = off", "synchronous_commit"),
        ("ALTER ROLE {app} IN DATABASE {db} SET synchronous_commit = off", "synchronous_commit"),
        ("GRANT UPDATE (state) ON ledger.events TO {app}", "change or delete events"),
        ("GRANT DELETE ON ledger.events TO {app}", "change or delete events"),
        ("GRANT TRUNCATE ON ledger.events TO {app}", "change or delete events"),
        ("DELETE FROM public.ledger_migrations WHERE number = 2", r"\[2\] are missing"),
        ("UPDATE public.ledger_migrations SET sha256 = 'x' WHERE number = 1", r"\[1\] differ"),
        (
            "INSERT INTO public.ledger_migrations VALUES (99, 'x', 'x', now(), true)",
            r"\[99\] are unknown",
        ),
        ("DROP TABLE public.ledger_migrations", "schema is missing"),
    ],
)
def test_a_database_unfit_for_a_ledger_is_refused(
    database: Database, statement: str, reason: str
) -> None:
    """Unsafe settings, loose privileges and an unknown schema are told by name."""
    as_superuser(database, statement)
    with pytest.raises(RefusedToStart, match=reason):
        check_boot(database.url)


def test_older_code_goes_on_beside_what_newer_code_has_added(database: Database) -> None:
    """A migration that this code does not know is no reason to stop, unless it says so."""
    as_superuser(
        database, "INSERT INTO public.ledger_migrations VALUES (99, 'x', 'x', now(), false)"
    )
    check_boot(database.url)


def test_a_server_that_could_lose_commits_is_refused(durable_postgres: Cluster) -> None:
    """`fsync` or `full_page_writes` off; and a replica, where nothing can be written."""
    database = durable_postgres.new_database(TEMPLATE)
    process = durable_postgres.process
    safe = process.command
    process.stop()
    with pytest.raises(Unavailable):
        check_boot(database.url)
    for setting in ("fsync", "full_page_writes"):
        process.command = replace(safe, args=(*safe.args, "-c", f"{setting}=off"))
        process.start()
        with pytest.raises(RefusedToStart, match=setting):
            check_boot(database.url)
        process.stop()
    process.command = safe
    (durable_postgres.cluster.data / "standby.signal").touch()
    process.start()
    with pytest.raises(RefusedToStart, match="replica"):
        check_boot(database.url)


@pytest.mark.parametrize(
    ("options", "changed", "reason"),
    [
        (["-O"], {}, "assertions"),
        ([], {"VAULT_KEY": "short"}, "VAULT_KEY"),
        ([], {"WEBHOOK_SECRET": "short"}, "WEBHOOK_SECRET"),
        ([], {"DATABASE_URL": ""}, "DATABASE_URL"),
        ([], {"LEDGER_PORT": "eighty"}, "LEDGER_PORT"),
        ([], {"FAL_WEBHOOK_JWKS_URL": "http://keys.test/jwks"}, "FAL_WEBHOOK_JWKS_URL"),
        ([], {"FAL_WEBHOOK_SIGNATURES": "maybe"}, "FAL_WEBHOOK_SIGNATURES"),
        ([], {"FAL_WEBHOOK_USER_ID": "two words"}, "FAL_WEBHOOK_USER_ID"),
    ],
)
def test_a_process_unfit_for_a_ledger_does_not_start(
    database: Database, tmp_path: Path, options: list[str], changed: dict[str, str], reason: str
) -> None:
    """Without assertions or with bad settings: exit status 1, one line that says why."""
    env = {**environment(database, tmp_path), **changed}
    port = str(free_port())
    done = subprocess.run(
        [sys.executable, *options, "-m", "ledger_service", "serve", "--port", port],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
