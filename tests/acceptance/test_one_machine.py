"""`make run` and `make demo`, as a person starts them and as an accident ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.run.child import wait_until
from deploy.run.env import read_env
from deploy.run.host import is_alive
from deploy.run.plan import ROOT
from tests.fixtures.services import scratch_folder

pytestmark = pytest.mark.slow

START_SECONDS = 90.0
PARTS = ("POSTGRES", "VALKEY", "FAL", "LEDGER", "CLOCKWORK", "WORKER")
PROMISED = (
    "LEDGER_URL",
    "LEDGER_API_KEY",
    "LEDGER_READ_KEY",
    "LEDGER_WORK_KEY",
    "LEDGER_OPERATE_KEY",
    "METRICS_TOKEN",
    "OTHER_TENANT_API_KEY",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "VALKEY_URL",
    "FAL_URL",
    "STORAGE_URL",
    *(f"PID_{part}" for part in PARTS),
)


class OneMachine:
    """A launcher over a run folder of its own, on a free port."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._launcher: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the launcher and wait until it says that everything is up."""
        console = self.run_dir / "console"
        with console.open("wb") as output:
            self._launcher = self._popen("-m", "deploy.run", output=output.fileno())

        def is_up() -> bool:
            assert self._launcher is not None
            assert self._launcher.poll() is None, console.read_text()
            return "everything is up" in console.read_text()

        wait_until(is_up, START_SECONDS, "the one-machine run")

    def run_demo(self) -> subprocess.CompletedProcess[str]:
        """Run `make demo`'s command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deploy.run", "--demo-once"],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send the launcher a signal, wait for its end, return its status."""
        if self._launcher is None:
            return 0
        self._launcher.send_signal(how)
        status = self._launcher.wait(90)
        self._launcher = None
        return status

    @property
    def env(self) -> dict[str, str]:
        """What the env file says now."""
        return read_env(self.run_dir / "env")

    def pids(self) -> dict[str, int]:
        """The pid of each part by its name."""
        env = self.env
        return {part: int(env[f"PID_{part}"]) for part in PARTS if f"PID_{part}" in env}

    def call(self, method: str, path: str, body: object = None, key: str = "") -> httpx.Response:
        """Call the ledger as the demo tenant."""
        env = self.env
        headers = {"Authorization": f"Bearer {env['LEDGER_API_KEY']}"}
        if key:
            headers["Idempotency-Key"] = key
        url = env["LEDGER_URL"] + path
        return httpx.request(method, url, json=body, headers=headers, timeout=10)

    def balance(self, account_id: str) -> int:
        """The account's posted credits."""
        answer = self.call("GET", f"/v1/accounts/{account_id}")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["balance"]["posted"])

    def _popen(self, *arguments: str, output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self._environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return {**kept, "RUN_DIR": str(self.run_dir), "LEDGER_PORT": "0", "DEMO": "0"}


@pytest.fixture
def machine() -> Iterator[OneMachine]:
    """A one-machine run that has not been started; stopped after the test."""
    with scratch_folder() as folder:
        made = OneMachine(folder)
        yield made
        made.stop()


def processes_of(run_dir: Path, launched: dict[str, int]) -> list[int]:
    """Every living process that a run started, found by its pids or by what it was told."""
    found = [pid for pid in launched.values() if is_alive(pid)]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            is_inside = str(run_dir) in os.readlink(path / "cwd")
        except OSError:
            continue
        pid = int(path.name)
        is_ours = is_inside or str(run_dir).encode() in told
        if is_ours and pid != os.getpid() and is_alive(pid):
            found.append(pid)
    return found


def test_the_env_file_tells_scripts_all_that_was_promised(machine: OneMachine) -> None:
    """The env file is private, complete, and its addresses and pids are alive."""
    machine.start()
    env = machine.env
    assert set(PROMISED) <= set(env)
    assert (machine.run_dir / "env").stat().st_mode & 0o777 == 0o600
    assert all(is_alive(pid) for pid in machine.pids().values())
    assert httpx.get(env["LEDGER_URL"] + "/health/ready").status_code == 200
    assert machine.stop() == 0
    assert processes_of(machine.run_dir, {}) == []


def test_each_killed_child_comes_back(machine: OneMachine) -> None:
    """kill -9 of any part: another takes its place, the env file says so, and credits remain."""
    machine.start()
    grant = {"amount": 70, "source": "promo"}
    assert machine.call("POST", "/v1/accounts/a/grants", grant, "first").status_code == 201
    for part in PARTS:
        before = machine.pids()[part]
        os.kill(before, signal.SIGKILL)

        def is_replaced(part: str = part, before: int = before) -> bool:
            return machine.pids().get(part, before) != before

        wait_until(is_replaced, 30, f"another {part}")
        wait_until(lambda: answers(machine), 30, f"the ledger after {part} was killed")
        assert machine.balance("a") == 70
    assert machine.call("POST", "/v1/accounts/a/grants", grant, "second").status_code == 201
    assert machine.balance("a") == 140


def test_a_killed_launcher_leaves_no_process_and_loses_no_credit(machine: OneMachine) -> None:
    """SIGKILL of the launcher ends everything it started; the next start has all the data."""
    machine.start()
    grant = {"amount": 70, "source": "promo"}
    first = machine.call("POST", "/v1/accounts/a/grants", grant, "once")
    assert first.status_code == 201
    launched = machine.pids()
    machine.stop(signal.SIGKILL)
    wait_until(lambda: not processes_of(machine.run_dir, launched), 40, "the last child's end")
    machine.start()
    assert machine.balance("a") == 70
    again = machine.call("POST", "/v1/accounts/a/grants", grant, "once")
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_second_launcher_is_refused(machine: OneMachine) -> None:
    """Two launchers never write the same files: the second says who runs there, and ends."""
    machine.start()
    second = machine.run_demo()
    assert second.returncode == 1
    assert "already runs" in second.stderr


def test_the_demo_holds_on_a_clean_machine_and_again(machine: OneMachine) -> None:
    """The demo ends with 0 on an empty folder, and once more over the data of the first."""
    for _ in range(2):
        demo = machine.run_demo()
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert "All of it held" in demo.stdout
        assert processes_of(machine.run_dir, {}) == []
    videos = [path for path in (machine.run_dir / "media").rglob("*") if path.is_file()]
    assert len(videos) == 2
    assert all(path.read_bytes()[4:8] == b"ftyp" for path in videos)


def answers(machine: OneMachine) -> bool:
    """Tell whether the ledger serves reads and is ready for writes."""
    try:
        ready = httpx.get(machine.env["LEDGER_URL"] + "/health/ready", timeout=5)
    except httpx.TransportError:
        return False
    return ready.status_code == 200
