"""Lets the follower work beside an event loop: in a thread, one run at a time."""

from __future__ import annotations

import asyncio
import logging
import threading

import psycopg

from ledger_service.errors import LedgerError
from ledger_service.projections.follower import Follower

_log = logging.getLogger(__name__)


class Feeder:
    """Catches up whenever it is asked to."""

    def __init__(self, database_url: str) -> None:
        self._follower = Follower(database_url)
        self._is_over = threading.Event()
        self._run: asyncio.Task[None] | None = None

    def feed(self) -> None:
        """Begin to catch up, unless that is under way. Does not wait, and never raises."""
        if self._run is None or self._run.done():
            self._is_over.clear()
            self._run = asyncio.create_task(asyncio.to_thread(self._catch_up))

    async def stop(self) -> None:
        """End what is under way after its transaction."""
        self._is_over.set()
        if self._run is not None:
            await self._run
        self._follower.close()

    def _catch_up(self) -> None:
        try:
            self._follower.catch_up(self._is_over.is_set)
        except (psycopg.Error, LedgerError) as error:
            _log.warning("projections: %s: %s", type(error).__name__, error)
            self._follower.close()
