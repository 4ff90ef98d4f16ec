"""`worker`: become the job worker (a program of its own; it shares only `contracts` with us)."""

from __future__ import annotations

import argparse
import os
import sys


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("worker", help="run the job worker")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Replaces this process."""
    os.execv(sys.executable, [sys.executable, "-m", "job_worker"])  # noqa: S606 - no shell wanted
