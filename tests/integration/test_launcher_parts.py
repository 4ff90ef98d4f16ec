"""The parts that the one-machine run is made of: servers, supervisor, guard, lock, env file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.emulators.fal.identities import owner_of, user_id
from deploy.run.child import Command, wait_until
from deploy.run.env import Options, Secrets, read_env, with_role, write_env
from deploy.run.host import can_reach, is_alive, service_user, within_reach
from deploy.run.plan import ROOT, Planner
from deploy.run.postgres import PostgresCluster
from deploy.run.supervise import ChildFailed
from tests.fixtures.services import Cluster, Database, Valkey

pytestmark = pytest.mark.slow


def sleeper(name: str, program: str) -> Command:
    """A small Python program as a command."""
    return Command(
        name=name,
        args=(sys.executable, "-c", program),
        env={"PATH": os.environ["PATH"]},
        cwd=ROOT,
    )


def test_acknowledged_rows_outlive_a_killed_server(durable_postgres: Cluster) -> None:
    """What a commit has acknowledged is there after kill -9."""
    database = durable_postgres.new_database("empty")
    with database.connect_owner(autocommit=True) as connection:
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (7)")
    durable_postgres.kill()
    durable_postgres.restart()
    with database.connect_owner() as connection:
        assert connection.execute("select n from kept").fetchone() == (7,)


def test_a_wrong_password_is_refused(bare_database: Database) -> None:
    """Loopback alone opens nothing: every connection needs its password."""
    wrong = with_role(bare_database.owner_url, "ledger_owner", "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_dead_servers_pid_file_does_not_stop_the_next(durable_postgres: Cluster) -> None:
    """A pid file whose owner is gone is forgotten; that of a living one is respected."""
    pid_file = durable_postgres.cluster.data / "postmaster.pid"
    durable_postgres.cluster.command()
    assert pid_file.exists()
    durable_postgres.kill()
    durable_postgres.cluster.command()
    assert not pid_file.exists()


def test_a_creation_cut_short_is_begun_anew(tmp_path: Path) -> None:
    """A half-made data folder is never taken for a whole one."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    folder = folder / f"credit-ledger-cut-{os.getpid()}"
    cluster = PostgresCluster(folder=folder, port=1, password="x", user=service_user())
    try:
        (folder / "data.draft").mkdir(parents=True)
        (folder / "data.draft" / "PG_VERSION").write_text("half")
        cluster.create()
        assert (cluster.data / "global" / "pg_control").exists()
        assert not (folder / "password").exists()
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_the_queue_outlives_a_killed_valkey(valkey: Valkey) -> None:
    """A killed Valkey comes back with what it had a moment before the kill."""
    with redis.Redis.from_url(valkey.url) as client:
        client.set("rung", "yes")
        time.sleep(1.5)  # its log is flushed every second
    valkey.kill()
    valkey.restart()
    with redis.Redis.from_url(valkey.url) as client:
        assert client.get("rung") == b"yes"


def ledger_env(folder: Path, **options: str) -> dict[str, str]:
    """What a plan with nothing embedded but (perhaps) the emulator tells the ledger."""
    given = Options(
        run_dir=folder,
        ledger_port=0,
        demo=False,
        database_url="postgresql://ledger.test/ledger",
        valkey_url="redis://ledger.test",
        storage_url="file:///media",
        **options,
    )
    plan = Planner(given, Secrets(fal_key="emulator:key"), None).plan()
    (ledger,) = [child for child in plan.children if child.name == "ledger"]
    return {**ledger.command.env, "FAL_URL": plan.env["FAL_URL"]}


def test_the_ledger_is_told_whose_webhooks_to_believe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator's keys and its name for us; with a real key what the environment says, and
    fal's own keys if it says nothing."""
    monkeypatch.setenv("FAL_WEBHOOK_USER_ID", "user_real")
    emulated, real = ledger_env(tmp_path), ledger_env(tmp_path, fal_key="id:secret")
    assert emulated["FAL_WEBHOOK_JWKS_URL"] == f"{emulated['FAL_URL']}/.well-known/jwks.json"
    assert emulated["FAL_WEBHOOK_USER_ID"] == user_id(owner_of("emulator:key"))
    assert real["FAL_WEBHOOK_USER_ID"] == "user_real"
    assert not {"FAL_WEBHOOK_JWKS_URL", "FAL_WEBHOOK_SIGNATURES"} & real.keys()


def test_a_child_that_never_starts_ends_the_run_with_its_last_words(tmp_path: Path) -> None:
    """A run that cannot be complete says why, and stops what it had started."""
    fine = sleeper("fine", "import time; time.sleep(60)")
    broken = sleeper("broken", "raise SystemExit('no such setting')")
    # Whoever ends within this time was never ready, however slow the machine is.
    script = supervisor_script(tmp_path, [fine, broken], settle_seconds=15.0)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ChildFailed.__name__ in done.stderr
    assert "no such setting" in done.stderr
    assert not is_alive(int((tmp_path / "fine.pid").read_text()))


def test_a_killed_child_and_its_own_children_are_replaced(tmp_path: Path) -> None:
    """After kill -9 of a child none of its descendants stays, and a new one runs."""
    program = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    script = supervisor_script(tmp_path, [sleeper("parent", program)])
    launcher = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        first = read_pid(tmp_path / "parent.pid")
        wait_until(lambda: len(group(first)) == 2, 10, "the grandchild")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: read_pid(tmp_path / "parent.pid") != first, 10, "the successor")
        assert group(first) == []
    finally:
        launcher.terminate()
        assert launcher.wait(20) == 0
    assert group(read_pid(tmp_path / "parent.pid")) == []


def test_children_are_stopped_in_reverse_order(tmp_path: Path) -> None:
    """Who was started last goes first, and each is gone before the next is asked."""
    note = tmp_path / "order"
    program = (
        "import signal, sys, time\n"
        "def leave(*_):\n"
        f"    open({str(note)!r}, 'a').write('NAME '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "time.sleep(60)"
    )
    commands = [sleeper(name, program.replace("NAME", name)) for name in ("low", "mid", "top")]
    script = supervisor_script(tmp_path, commands)
    launcher = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    read_pid(tmp_path / "top.pid")
    time.sleep(1.0)  # until the last has its handler
    launcher.terminate()
    assert launcher.wait(20) == 0
    assert note.read_text().split() == ["top", "mid", "low"]


def test_the_env_file_is_private_and_reads_back(tmp_path: Path) -> None:
    """What scripts read is written whole, for its owner alone, and survives quoting."""
    path = tmp_path / "env"
    write_env(path, {"A": "plain", "B": "with 'quotes' & $signs"}, {"ledger": 12})
    assert read_env(path) == {"A": "plain", "B": "with 'quotes' & $signs", "PID_LEDGER": "12"}
    assert path.stat().st_mode & 0o777 == 0o600
    shell = subprocess.run(
        ["sh", "-c", f'. {path}; printf %s "$B"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == "with 'quotes' & $signs"


def test_secrets_stay_the_same_over_the_same_folder(tmp_path: Path) -> None:
    """A second start finds the passwords and keys of the first."""
    first = Secrets.keep(tmp_path / "secrets.json")
    assert Secrets.keep(tmp_path / "secrets.json") == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_real_provider_is_not_paid_for_a_demo_unasked() -> None:
    """With a FAL_KEY the demo runs only when DEMO=1 says so."""
    assert Options.read({}).demo
    assert not Options.read({"FAL_KEY": "k"}).demo
    assert Options.read({"FAL_KEY": "k", "DEMO": "1"}).demo


def test_another_role_keeps_server_and_database() -> None:
    """The application's URL differs from the owner's in role and password alone."""
    owner = "postgresql://me:secret@db.example:6432/ledger?sslmode=require"
    derived = with_role(owner, "ledger_app", "pass")
    assert derived == "postgresql://ledger_app:pass@db.example:6432/ledger?sslmode=require"


def test_closed_folders_stay_closed(tmp_path: Path) -> None:
    """Files out of the service user's reach are copied; no folder is opened up."""
    user = service_user()
    closed = tmp_path / "closed"
    (closed / "part").mkdir(parents=True)
    closed.chmod(0o700)
    if user is None:
        assert can_reach(closed, user)
        assert within_reach(closed, ["part"], "never-copied", user) == closed
    else:
        assert not can_reach(closed / "part", user)
    assert closed.stat().st_mode & 0o777 == 0o700


def supervisor_script(folder: Path, commands: list[Command], settle_seconds: float = 0.0) -> str:
    """A program that supervises `commands` and writes each one's pid to `<name>.pid`."""
    specs = [(command.name, command.args) for command in commands]
    return f"""
import os, sys
from pathlib import Path
from deploy.run.child import Command
from deploy.run.supervise import Child, Supervisor
folder = Path({str(folder)!r})
def note(pids):
    for name, pid in pids.items():
        (folder / f"{{name}}.draft").write_text(str(pid))
        (folder / f"{{name}}.draft").rename(folder / f"{{name}}.pid")
children = [
    Child(
        command=Command(name=name, args=args, env=dict(os.environ), cwd=folder),
        settle_seconds={settle_seconds!r},
    )
    for name, args in {specs!r}
]
sys.exit(Supervisor(children, logs=folder, changed=note).run())
"""


def read_pid(path: Path) -> int:
    """Wait for a pid file and read it."""
    wait_until(path.exists, 15, path.name)
    return int(path.read_text())


def group(leader: int) -> list[int]:
    """The living processes of one group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgid) == leader and state != "Z":
                members.append(int(stat.parent.name))
    return members
