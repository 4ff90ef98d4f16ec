"""`clockwork`: rings due jobs, books expiries, ends overdue jobs. One of several leads."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from datetime import timedelta

from ledger_service.clockwork import Clockwork
from ledger_service.engine.engine import Engine
from ledger_service.generations.doorbell import Doorbell
from ledger_service.media.library import MediaLibrary
from ledger_service.settings import Settings, read_settings
from ledger_service.signing import Signer
from ledger_service.store.boot import check_boot
from ledger_service.store.vault import Vault


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("clockwork", help="make due things happen; one of several leads")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    settings = read_settings()
    check_boot(settings.database_url)
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = Engine(settings.database_url, Vault(settings.master_key()))
    doorbell = Doorbell(settings.valkey_url)
    library = MediaLibrary(settings.storage_url, Signer(settings.signing_secret()))
    grace = timedelta(seconds=settings.deadline_grace_seconds)
    leftovers_after = timedelta(seconds=settings.leftovers_after_seconds)
    clockwork = Clockwork(settings.database_url, engine, doorbell, library, grace, leftovers_after)
    await engine.start()
    doorbell.start()
    try:
        await clockwork.run(stop)
    finally:
        doorbell.stop()
        await engine.stop()
