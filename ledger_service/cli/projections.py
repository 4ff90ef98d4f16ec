"""`projections`: how far they are behind the log; or make all of them anew."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Final

import psycopg

from ledger_service.errors import Unavailable
from ledger_service.projections.follower import Follower, Progress
from ledger_service.settings import read_settings

_PAUSE_SECONDS: Final = 0.1


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "projections", help="what readers ask for: status, or rebuild it from the log"
    )
    parser.add_argument("action", choices=("status", "rebuild"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """With the serving role's rights. Readers are served meanwhile, from the events."""
    follower = Follower(read_settings().database_url)
    try:
        if options.action == "rebuild":
            follower.forget()
            _catch_up(follower)
        progress = follower.progress()
        print(f"{progress.position} of {progress.head} events are in the projections")
    except psycopg.OperationalError as error:
        raise Unavailable(str(error).strip()) from None
    finally:
        follower.close()
    return 0


def _catch_up(follower: Follower) -> None:
    """The clockwork may take part; then there is less to do here."""
    target = follower.progress().head
    while (progress := follower.progress()).position < target or progress.snapshots_due:
        if follower.step() == (0, 0):
            time.sleep(_PAUSE_SECONDS)
        _show(progress)


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        line = f"\r{progress.position}/{progress.head} events"
        print(line, end="", file=sys.stderr, flush=True)
