"""``python -m job_worker``: run Dramatiq's worker in the foreground, with every limit explicit; or
``python -m job_worker reconcile``: compare what ledger, provider and storage say."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from contracts.jobs import DOORBELL_QUEUE
from job_worker.errors import BadSettings
from job_worker.process import hide_environment
from job_worker.reconciling import arguments
from job_worker.settings import VARIABLES, Settings, read_settings

SHUTDOWN_TIMEOUT_SECONDS: Final = 8.0
"""Above the drain of the steps; after it, threads that still run are abandoned."""
BELL_THREADS: Final = 4
"""They only hand bells over to the event loop, and wait while it has no place for more."""
IDLE_POLL_SECONDS: Final = 0.05
"""How long an idle queue goes unasked at most: this is the bell's latency."""
RESTART_DELAY_SECONDS: Final = 2.0
"""The pause between two tries to reach a Valkey that is down."""


def main() -> int:
    """Run until SIGTERM; 0 after an orderly stop, 2 when the environment is not a worker's. Of a
    comparison it is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m job_worker",
        description="Carry generations through the provider. Settings come from the environment:",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:26} {meaning}" for name, meaning in VARIABLES.items()),
    )
    commands = parser.add_subparsers(dest="command", metavar="[COMMAND]", help="none: the worker")
    arguments.add_to(commands)
    options = parser.parse_args()
    if not __debug__:
        print("refusing to start under -O: assertions guard against bugs", file=sys.stderr)
        return 2
    if options.command == "reconcile":
        # Only now: it imports Dramatiq, whose settings the worker has to make first.
        from job_worker.reconciling import command

        return command.run(options, os.environ)
    try:
        settings = read_settings(os.environ)
    except BadSettings as error:
        print("\n".join(error.faults), file=sys.stderr)
        return 2
    return _run_dramatiq(settings)


def _run_dramatiq(settings: Settings) -> int:
    hide_environment()
    os.environ |= {name: str(value) for name, value in _dramatiq_environment().items()}
    # Only now: Dramatiq reads them once, at import.
    from dramatiq import cli

    parser = cli.make_argument_parser()  # type: ignore[no-untyped-call]
    arguments = parser.parse_args([
        "job_worker.main:boot",
        *("--processes", str(settings.processes)),
        *("--threads", str(BELL_THREADS)),
        *("--queues", DOORBELL_QUEUE),
        *("--worker-shutdown-timeout", str(int(SHUTDOWN_TIMEOUT_SECONDS * 1000))),
    ])  # fmt: skip
    return cli.main(arguments) or 0  # type: ignore[no-untyped-call]


def _dramatiq_environment() -> dict[str, int]:
    return {
        # No more than can be handed over: the rest is for other workers.
        "dramatiq_queue_prefetch": BELL_THREADS,
        "dramatiq_delay_queue_prefetch": 1,
        "dramatiq_worker_timeout": int(IDLE_POLL_SECONDS * 1000),
        "dramatiq_restart_delay": int(RESTART_DELAY_SECONDS * 1000),
    }


if __name__ == "__main__":
    sys.exit(main())
