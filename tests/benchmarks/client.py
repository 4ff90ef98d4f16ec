"""Load from a process of its own: wrk where it is installed, else the bundled client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.benchmarks.load import Figures, Load

SCRIPT = Path(__file__).with_name("spend.lua")


class _WrkFigures(msgspec.Struct):
    """What `spend.lua` prints at the end."""

    requests: int
    seconds: float
    ms_p50: float
    ms_p99: float
    errors: int


def has_wrk() -> bool:
    """Whether wrk is on the PATH."""
    return shutil.which("wrk") is not None


def apply(load: Load) -> Figures:
    """The bundled client. It costs about as much as what it measures, and does everything."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=False,
        timeout=load.seconds + 60,
    )
    if done.returncode:
        raise SystemExit(f"the load broke: {done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=Figures)


def peak(load: Load) -> Figures:
    """As many plain spends or balance reads as can be had, by the cheapest client there is."""
    assert load.rate is None
    assert load.pick == "spread"
    figures = _wrk(load) if has_wrk() else apply(load)
    unexpected = {s: n for s, n in figures.statuses.items() if s not in {"200", "201"}}
    if unexpected:
        raise SystemExit(f"the load was not answered as it should: {unexpected}")
    return figures


def _wrk(load: Load) -> Figures:
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(load.seconds))}s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{load.port}"]
    env = os.environ | {
        "KIND": load.kind,
        "KEY": load.key,
        "ACCOUNTS": str(load.accounts),
        "RUN": str(time.monotonic_ns()),
    }
    done = subprocess.run(command, env=env, capture_output=True, check=False, text=True)
    if done.returncode:
        raise SystemExit(f"wrk: {done.stdout} {done.stderr}")
    told = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=_WrkFigures)
    rate = told.requests / told.seconds
    statuses = {"200": told.requests - told.errors}
    if told.errors:
        statuses["errors"] = told.errors
    return Figures(
        rate=rate,
        good_rate=(told.requests - told.errors) / told.seconds,
        ms_p50=told.ms_p50,
        ms_p99=told.ms_p99,
        ms_max=told.ms_p99,
        statuses=statuses,
        commands={},
        cpu_seconds=0.0,
    )
