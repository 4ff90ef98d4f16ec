#!/usr/bin/env python3
"""Everything a developer types, on a machine that has nothing but Python 3.11 or newer.

`make TARGET` and `python3 deploy/dev.py TARGET` are the same. Standard library only: this file
makes the environment that everything else runs in. It works as root and as a normal user, needs
no Docker and installs nothing outside the checkout.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "deploy" / "requirements"
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
PYTHON = VENV / "bin" / "python"
SETS = ("run", "run-thumbnails", "dev", "bench")
OLDEST_PYTHON = (3, 11)
_MINOR = sys.version_info[:2]

FAST_TESTS = (
    *("tests/unit", "tests/properties", "tests/simulation", "tests/modelcheck"),
    "tests/test_house.py",
)
MIGRATIONS = ROOT / "ledger_service" / "store" / "migrations"


def main() -> int:
    """Run one target; the exit status is that of the first command that fails."""
    parser = argparse.ArgumentParser(
        prog="make",
        description="Credit Ledger, for its developers.",
        epilog="\n".join(f"  {name:<18} {text}" for name, (_, text) in TARGETS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", choices=TARGETS, metavar="TARGET", nargs="?", default="help")
    parser.add_argument("args", nargs=argparse.REMAINDER, help="passed on to what the target runs")
    options = parser.parse_args()
    if options.target == "help":
        parser.print_help()
        return 0
    os.chdir(ROOT)
    try:
        TARGETS[options.target][0](options.args)
    except subprocess.CalledProcessError as failure:
        print(f"failed: {_readable(failure.cmd)}", file=sys.stderr)
        return failure.returncode if failure.returncode > 0 else 1
    except KeyboardInterrupt:
        return 130
    return 0


# --- the environment -------------------------------------------------------------------------


def ensure_environment(wanted: str) -> None:
    """Make `.venv` hold what `wanted` (one of SETS) locks; each set includes those before it.

    A stamp of the lock files makes a repeated call cost nothing.
    """
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once would tear each other's files out
        stamp = VENV / "stamp"
        held = stamp.read_text().split() if stamp.exists() and PYTHON.exists() else []
        if any(_digest(larger) in held for larger in SETS[SETS.index(wanted) :]):
            return
        started = time.monotonic()
        say(f"preparing .venv from deploy/requirements/{wanted}.txt (first time only) ...")
        uv = find_uv()
        if not _succeeds(str(PYTHON), "-c", f"import sys; assert {_MINOR} == sys.version_info[:2]"):
            run(uv, "venv", "-q", "--clear", "--python", sys.executable, str(VENV), env=_uv_env())
        sync(uv, wanted)
        stamp.write_text(_digest(wanted))
        say(f"ready in {time.monotonic() - started:.1f} s")


def find_uv() -> str:
    """Return a uv to install with: the one on the PATH, else one fetched into `.tools`."""
    fetched = TOOLS / "bin" / "uv"
    for candidate in (shutil.which("uv"), str(fetched)):
        # A version manager's shim may stand on the PATH with nothing behind it.
        if candidate and _succeeds(candidate, "--version"):
            return candidate
    say("fetching the installer into .tools ...")
    lock = REQUIREMENTS / "bootstrap.txt"
    pip = (sys.executable, "-m", "pip", "install", "-q", "--root-user-action=ignore")
    run(
        *pip,
        "--disable-pip-version-check",
        "--require-hashes",
        "--target",
        str(TOOLS),
        "--upgrade",
        "-r",
        str(lock),
    )
    return str(fetched)


def sync(uv: str, wanted: str) -> None:
    """Install exactly what the lock names, every file checked against its hash."""
    lock = str(REQUIREMENTS / f"{wanted}.txt")
    quick = (uv, "pip", "sync", "-q", "--require-hashes", "--python", str(PYTHON), lock)
    if subprocess.run(quick, env=_uv_env(), check=False).returncode == 0:
        return
    # Some machines reach packages only the way pip is configured to.
    say("uv could not install; trying pip ...")
    pip = (sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "-q")
    run(*pip, "--disable-pip-version-check", "--require-hashes", "-r", lock)


def _digest(wanted: str) -> str:
    """Name an environment by its lock and its Python."""
    lock = (REQUIREMENTS / f"{wanted}.txt").read_bytes()
    return hashlib.sha256(lock + f"{wanted} {_MINOR}".encode()).hexdigest()


def _uv_env() -> dict[str, str]:
    # The active environment is somebody else's; and no Python is to be downloaded.
    env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    return {**env, "UV_LINK_MODE": "copy", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}


# --- targets ---------------------------------------------------------------------------------


def setup(args: list[str]) -> None:
    """Make the environment for developing; nothing runs."""
    ensure_environment("dev")


def start(args: list[str]) -> None:
    """Become the launcher: it serves until Ctrl-C."""
    ensure_environment(_to_run())
    become("-m", "deploy.run", *args)


def demo(args: list[str]) -> None:
    """Become the launcher for one run of the scenario."""
    ensure_environment(_to_run())
    become("-m", "deploy.run", "--demo-once", *args)


def check(args: list[str]) -> None:
    """Everything that can be said about the code without starting a server."""
    lint([])
    fast_tests(args)


def lint(args: list[str]) -> None:
    """What can be said without running it."""
    ensure_environment("dev")
    step("ruff check", "-m", "ruff", "check", ".")
    step("ruff format", "-m", "ruff", "format", "--check", ".")
    step("mypy", "-m", "mypy")
    step("dependency rule", "-c", "from importlinter.cli import lint_imports_command as l; l()")
    say("squawk ...")
    run(str(VENV / "bin" / "squawk"), *(str(path) for path in sorted(MIGRATIONS.glob("*.sql"))))


def fast_tests(args: list[str]) -> None:
    """The tests that need no server, with few examples per property."""
    ensure_environment("dev")
    chosen = (*FAST_TESTS, "-m", "not slow", "-q", *_on_all_cores(), *args)
    step("fast tests", "-m", "pytest", *chosen, HYPOTHESIS_PROFILE="quick")


def all_tests(args: list[str]) -> None:
    """Every test, or those named in ARGS."""
    ensure_environment("dev")
    step("tests", "-m", "pytest", *_on_all_cores(), *args)


def bench_generations(args: list[str]) -> None:
    """Print what whole generations take; judges nothing."""
    ensure_environment("dev")
    become("-m", "tests.benchmarks.generations", *args)


def bench(args: list[str]) -> None:
    """Print ratios against yardsticks measured in the same run; judges nothing."""
    draws = {"--record", "--pages"} & set(args)
    ensure_environment("bench" if draws else "dev")
    become("-m", "tests.benchmarks", *args)


def oracle(args: list[str]) -> None:
    """Judge the service by a second, naive model of the law; 1 when they disagree."""
    ensure_environment("dev")
    become("-m", "tests.oracle", *args)


def simulate(args: list[str]) -> None:
    """Histories in virtual time, judged step by step; SEED=n in the environment plays one."""
    ensure_environment("dev")
    become("-m", "tests.simulation", *args)


def check_fal(args: list[str]) -> None:
    """Ask the real fal.ai what its documentation leaves open; costs money, so it asks first."""
    ensure_environment("run")
    become("-m", "deploy.check_fal", *args)


def fmt(args: list[str]) -> None:
    """Put the code into the one format, and mend what ruff can mend."""
    ensure_environment("dev")
    step("ruff check --fix", "-m", "ruff", "check", "--fix", ".")
    step("ruff format", "-m", "ruff", "format", ".")


def lock(args: list[str]) -> None:
    """Resolve the .in lists again. ARGS=--upgrade takes the newest versions."""
    TOOLS.mkdir(exist_ok=True)
    uv = find_uv()
    for name in ("bootstrap", *SETS):
        say(f"locking {name}.txt ...")
        target = f"deploy/requirements/{name}.txt"
        options = ("--universal", "--generate-hashes", "--python-version", "3.11", "--no-header")
        source = f"deploy/requirements/{name}.in"
        run(uv, "pip", "compile", "-q", *options, *args, source, "-o", target, env=_uv_env())
        _strip_addresses(Path(target))


def clean(args: list[str]) -> None:
    """Remove what this file and the tools made. Data of `make run` stays: that is `.run`."""
    caches = (".hypothesis", ".import_linter_cache", ".mypy_cache", ".pytest_cache", ".ruff_cache")
    for name in (".venv", ".tools", *caches):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    if (ROOT / ".run").exists():
        say("kept .run (the ledger's data); remove it by hand if you mean it")


TARGETS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "help": (lambda args: None, "this list"),
    "setup": (setup, "make .venv, with the developer's tools"),
    "run": (start, "serve everything on this machine until Ctrl-C, and show the demo once"),
    "demo": (demo, "the demo once, then stop: 0 when all of it held"),
    "lint": (lint, "lint, types, dependency rule, migrations"),
    "check": (check, "lint, types, dependency rule, migrations, fast tests"),
    "test": (all_tests, "every test, on real PostgreSQL and Valkey"),
    "test-fast": (fast_tests, "the tests that need no server"),
    "bench": (bench, "throughput as ratios against yardsticks"),
    "bench-generations": (bench_generations, "whole generations: rate, latency, recovery, memory"),
    "oracle": (oracle, "random commands, every answer judged by a second model of the law"),
    "simulate": (simulate, "histories in virtual time, with faults; SEED=n plays one again"),
    "check-fal": (check_fal, "ask the real fal.ai whether the emulator is right; costs money"),
    "fmt": (fmt, "format the code"),
    "lock": (lock, "resolve deploy/requirements/*.in into hash-locked *.txt"),
    "clean": (clean, "remove .venv, .tools and caches; keeps .run"),
}


# --- small helpers ---------------------------------------------------------------------------


def say(text: str) -> None:
    """Tell the person at the terminal what happens now."""
    print(f"· {text}", flush=True)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command to its end; raises CalledProcessError when it fails."""
    subprocess.run(command, check=True, env=env)


def step(name: str, *arguments: str, **env: str) -> None:
    """Run Python of the environment to its end, under a name the reader knows."""
    say(f"{name} ...")
    run(str(PYTHON), *arguments, env={**os.environ, **env})


def become(*arguments: str) -> NoReturn:
    """Turn into Python of the environment, so that signals reach it and nobody else."""
    os.execv(PYTHON, (str(PYTHON), *arguments))


def _to_run() -> str:
    """What the services need here: an extra is large, and installed for those who ask for it."""
    return "run-thumbnails" if os.environ.get("THUMBNAILS") == "1" else "run"


def _on_all_cores() -> tuple[str, ...]:
    # Tests mostly wait, for outages and deadlines, so more of them than two cores pay; more than
    # four only multiply the database clusters.
    return ("-n", "4", "--dist", "worksteal")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _strip_addresses(lock_file: Path) -> None:
    """Keep names, versions and hashes: where packages come from is each machine's own matter."""
    unwanted = ("-i ", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", "-e ")
    lines = lock_file.read_text().splitlines(keepends=True)
    lock_file.write_text("".join(line for line in lines if not line.startswith(unwanted)))


def _readable(command: object) -> str:
    parts = command if isinstance(command, (list, tuple)) else [command]
    return " ".join(str(part) for part in parts)


if __name__ == "__main__":
    if sys.version_info < OLDEST_PYTHON:
        sys.exit("Credit Ledger needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")
    sys.exit(main())
