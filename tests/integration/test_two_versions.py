"""The next version beside this one, on one database, while callers go on.

The next version is made here: this one with another form of heads and one more migration.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from deploy.run.host import free_port
from deploy.run.plan import python_command
from ledger_service.audit.replay import replay as replay_log
from tests.fixtures.live import Caller, LiveLedger, environment, expect, is_ready, serve
from tests.fixtures.services import Database, Process, Processes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MIGRATION = "CREATE TABLE ledger.what_comes_next (id bigint PRIMARY KEY);"
SPEND = {"amount": 1, "reason": "test"}


def make_next_version(folder: Path) -> None:
    """A checkout of the version after this one."""
    for package in ("contracts", "ledger_service"):
        shutil.copytree(ROOT / package, folder / package)
    heads = folder / "ledger_service" / "store" / "heads.py"
    before, mark, after = heads.read_text().partition("SNAPSHOT_VERSION: Final = ")
    version, _, rest = after.partition("\n")
    heads.write_text(f"{before}{mark}{int(version) + 1}\n{rest}")
    migrations = folder / "ledger_service" / "store" / "migrations"
    number = 1 + len(list(migrations.glob("*.sql")))
    (migrations / f"{number:04}_next.sql").write_text(MIGRATION)


def serve_next(ledger: LiveLedger, processes: Processes, folder: Path) -> Caller:
    """Migrate, then serve the next version as well; returns a caller of it."""
    database, port = ledger.database, free_port()
    env = environment(database, processes.folder) | {"DATABASE_OWNER_URL": database.owner_url}
    migrate = replace(python_command("migrate", "ledger_service", "migrate", env=env), cwd=folder)
    done = subprocess.run(migrate.args, env=migrate.env, cwd=folder, capture_output=True, text=True)
    assert "_next.sql" in done.stdout, done.stderr
    arguments = ("serve", "--port", str(port))
    command = replace(python_command("next", "ledger_service", *arguments, env=env), cwd=folder)
    url = f"http://127.0.0.1:{port}"
    processes.add(Process(command, processes.folder / "next.log", lambda: is_ready(url)))
    return Caller(url, ledger.caller.key)


def test_two_versions_serve_side_by_side(
    database: Database, processes: Processes, tmp_path: Path
) -> None:
    """Each account is served by whoever understands its head; nothing is lost or done twice."""
    ledger = serve(processes, database)
    this = ledger.caller
    for account in ("kept", "moved"):
        this.grant(account, 100)
    first = this.post("/v1/accounts/moved/debits", SPEND, key="once")
    make_next_version(tmp_path / "next")
    after = serve_next(ledger, processes, tmp_path / "next")

    assert is_ready(ledger.url), "a migration that only adds stops nobody"
    assert this.debit("kept", 1)["account"]["balance"]["posted"] == 99
    repeated = after.post("/v1/accounts/moved/debits", SPEND, key="once")
    assert (repeated.status_code, repeated.content) == (201, first.content)
    assert after.debit("moved", 1)["account"]["balance"]["posted"] == 98  # an older head, refolded

    # This version cannot read what the next one has written, says so, and changes nothing.
    refused = this.post("/v1/accounts/moved/debits", SPEND, key="later")
    assert expect(503, refused)["code"] == "unavailable"
    assert expect(503, this.get("/v1/accounts/moved"))["code"] == "unavailable"
    assert this.debit("kept", 1)["account"]["balance"]["posted"] == 98
    taken_over = expect(201, after.post("/v1/accounts/moved/debits", SPEND, key="later"))
    assert taken_over["account"]["balance"]["posted"] == 97
    assert after.debit("kept", 1)["account"]["balance"]["posted"] == 97

    after.http.close()
    ledger.close()
    with database.connect_owner() as connection:  # for the replay of this version
        connection.execute("UPDATE ledger.heads SET snapshot_version = snapshot_version - 1")
    assert replay_log(database.url).differences == []
