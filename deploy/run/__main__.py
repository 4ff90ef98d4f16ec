"""`python -m deploy.run`: the whole ledger on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.run.env import Options, Secrets, write_env
from deploy.run.host import is_alive, is_free, make_folder, service_user
from deploy.run.plan import Plan, Planner, python_command
from deploy.run.supervise import Child, ChildFailed, Supervisor

HELP = """\
settings by environment:
  RUN_DIR             where data, secrets, logs, media and `env` go (.run)
  LEDGER_PORT         the ledger's port (8080; 0 = a free one)
  DEMO=0              serve without showing the demo
  DATABASE_URL        a PostgreSQL of yours, as its owner; the role ledger_app is made in it
  DATABASE_OWNER_URL  the owner, when DATABASE_URL is to be served with as it is
  VALKEY_URL          a Valkey or Redis of yours
  FAL_KEY             use fal.ai instead of the emulator (DEMO=1 then costs real money)
  FAL_ADMIN_KEY       key that may delete payloads at fal.ai, where FAL_KEY may not
  WEBHOOK_BASE_URL    where fal.ai can reach the ledger; without it, fal.ai is only polled
  FAL_WEBHOOK_USER_ID your user id at fal.ai: webhooks that name another one are refused
  STORAGE_URL         s3://bucket/prefix or file:///folder for the media
  PUBLIC_URL          how others reach the ledger, in links to files (by the Host header)
  THUMBNAILS=1        a small still of each result; `make run` installs what that takes
  RUN_USER            as root: whom PostgreSQL and Valkey run as (postgres, else nobody)
"""

LOCK_SECONDS = 45.0
"""How long to wait until all that a killed launcher has left behind is gone."""


class CannotStart(Exception):
    """The run is refused before anything was started; the text says what to do."""


def main() -> int:
    """Start everything, serve, stop everything. Returns 1 when a part cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.run",
        description=__doc__,
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    once = "stop after the demo; 0 when all of it held"
    parser.add_argument("--demo-once", action="store_true", help=once)
    arguments = parser.parse_args()
    try:
        return launch(Options.read(os.environ), demo_once=arguments.demo_once)
    except (CannotStart, ChildFailed, LookupError, ValueError) as reason:
        print(f"\n{reason}", file=sys.stderr)
    except subprocess.CalledProcessError as failure:  # initdb
        print(f"\n{failure}\n{failure.stderr}", file=sys.stderr)
    return 1


def launch(options: Options, *, demo_once: bool) -> int:
    """Run everything that these options ask for; returns the exit status."""
    started = time.monotonic()
    run_dir = options.run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = take_lock(run_dir / "lock")
    if options.ledger_port and not is_free(options.ledger_port):
        raise CannotStart(f"port {options.ledger_port} is taken; LEDGER_PORT=0 finds a free one")
    kept = Secrets.keep(run_dir / "secrets.json")
    planner = Planner(options, kept, service_user())
    print(f"Credit Ledger, in {run_dir}", file=sys.stderr)
    if planner.data != run_dir:
        print(f"  database files in {planner.data}: not reachable otherwise", file=sys.stderr)
    plan = planner.plan()
    shows_demo = demo_once or options.demo
    children = [*plan.children, *closing_acts(options, plan, shows_demo=shows_demo)]
    with guarded(lock) as guard:
        supervisor = Supervisor(
            children,
            logs=make_folder(run_dir / "logs", None),
            guard=guard,
            changed=lambda pids: write_env(run_dir / "env", plan.env, pids),
            complete=lambda: print(serving(plan, run_dir, started), file=sys.stderr, flush=True),
        )
        return supervisor.run(until="demo" if demo_once else None)


def closing_acts(options: Options, plan: Plan, *, shows_demo: bool) -> list[Child]:
    """Return the demo, as a child that starts when all others are ready."""
    if not shows_demo:
        return []
    env = {**plan.env, "FAL_IS_EMULATED": "" if options.fal_key else "1"}
    command = python_command("demo", "deploy.run.demo", env=env)
    everyone = tuple(child.name for child in plan.children)
    demo = Child(
        command=command,
        after=everyone,
        once=True,
        required=False,
        start_seconds=1_800.0,
        to_console=True,
    )
    return [demo]


def serving(plan: Plan, run_dir: Path, started: float) -> str:
    """Return what a person needs once everything is up."""
    seconds = time.monotonic() - started
    url = plan.env["LEDGER_URL"]
    return f"""
  everything is up  ({seconds:.1f} s)
    API         {url}/v1    documentation {url}/docs
    addresses   {run_dir}/env    keys, urls and pids; `. {run_dir}/env` in a shell
    logs        {run_dir}/logs
    Ctrl-C stops it all; the data stays.
"""


def take_lock(path: Path) -> int:
    """Lock the run folder for this launcher; returns the descriptor that holds the lock.

    The guard inherits it, so that after a hard kill the lock lasts as long as any child.
    Raises CannotStart when another launcher is at work.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while not _lock(descriptor):
        owner = os.pread(descriptor, 32, 0).decode()
        if owner.isdigit() and is_alive(int(owner)):
            raise CannotStart(f"process {owner} already runs {path.parent}; RUN_DIR names another")
        if time.monotonic() > deadline:
            raise CannotStart(f"what process {owner} started in {path.parent} does not end")
        time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def guarded(lock: int) -> Iterator[int]:
    """Run the guard process, which shares the lock; gives the writing end of its pipe."""
    reader, writer = os.pipe()
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))],
        stdin=reader,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
        cwd="/",
    )
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)
        guard.wait()


if __name__ == "__main__":
    sys.exit(main())
