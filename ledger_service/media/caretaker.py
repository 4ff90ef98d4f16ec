"""Lets the care of the storage go on beside the timetable: a slow storage delays nobody else."""

from __future__ import annotations

import asyncio
import logging

import psycopg

from ledger_service.errors import LedgerError
from ledger_service.media.removal import Connection, MediaRemoval
from ledger_service.store.link import connect

_log = logging.getLogger(__name__)


class Caretaker:
    """Has a connection of its own, and takes one turn at a time."""

    def __init__(self, database_url: str, removal: MediaRemoval) -> None:
        self._database_url = database_url
        self._removal = removal
        self._connection: Connection | None = None
        self._turn: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin a turn, unless one is under way. Does not wait, and never raises."""
        if self._turn is None or self._turn.done():
            self._turn = asyncio.create_task(self._take_turn())

    async def stop(self) -> None:
        """Give up what is under way: it is all found again."""
        if self._turn is not None:
            self._turn.cancel()
            await asyncio.gather(self._turn, return_exceptions=True)
        await self._disconnect()

    async def _take_turn(self) -> None:
        try:
            if self._connection is None:
                self._connection = await connect(self._database_url)
            await self._removal.turn(self._connection)
        except (psycopg.Error, LedgerError) as error:
            _log.warning("media: %s", type(error).__name__)
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
