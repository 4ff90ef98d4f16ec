"""`projections`: how far they are behind the log; or make all of them anew."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Final

import psycopg

from ledger_service.errors import Unavailable
from ledger_service.projections.follower import Follower, Progress
from ledger_service.settings import read_settings

_PAUSE_SECONDS: Final = 0.1
_NICENESS: Final = 10
_REST: Final = 2.0
"""As a multiple of the time that a step took: nobody waits for a rebuild."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "projections", help="what readers ask for: status, or rebuild it from the log"
    )
    parser.add_argument("action", choices=("status", "rebuild"))
    parser.add_argument(
        "--at-once", action="store_true", help="rebuild as fast as can be; spends become slower"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """With the serving role's rights. Readers are served meanwhile, from the events."""
    follower = Follower(read_settings().database_url)
    try:
        if options.action == "rebuild":
            follower.forget()
            _catch_up(follower, rest=0.0 if options.at_once else _REST)
        progress = follower.progress()
        print(f"{progress.position} of {progress.head} events are in the projections")
    except psycopg.OperationalError as error:
        raise Unavailable(str(error).strip()) from None
    finally:
        follower.close()
    return 0


def _catch_up(follower: Follower, *, rest: float) -> None:
    """The clockwork may take part; then there is less to do here. Whoever spends comes first: it
    runs with low priority, and rests between its steps."""
    if rest:
        os.nice(_NICENESS)
    target = follower.progress().head
    while (progress := follower.progress()).position < target or progress.snapshots_due:
        started = time.monotonic()
        is_idle = follower.step() == (0, 0)
        time.sleep(_PAUSE_SECONDS if is_idle else rest * (time.monotonic() - started))
        _show(progress)


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        line = f"\r{progress.position}/{progress.head} events"
        print(line, end="", file=sys.stderr, flush=True)
