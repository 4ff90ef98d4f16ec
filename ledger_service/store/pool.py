"""Connections for everything but the writer: reads, and the few rows that the API itself keeps.

However dead, hung or slow the database is, a caller has its answer or `Unavailable` within
`READ_WAIT_SECONDS`. A query that takes longer has its socket shut down under it: cancelling it
would mean asking the very server that does not answer, and waiting for that.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from contracts.limits import READ_WAIT_SECONDS
from ledger_service.errors import Unavailable
from ledger_service.store.link import watched

Result = TypeVar("Result")
Connection = AsyncConnection[Any]
Work = Callable[[Connection], Awaitable[Result]]

CONNECTIONS_MAX: Final = 8
WAITING_MAX: Final = 512
"""Reads that may wait for a connection; further ones are told at once to come later."""
# As for the writer: a plan made while the tables are small must be right when they are large.
_SESSION: Final = """
SET timezone = 'UTC'; SET jit = off; SET statement_timeout = '2s';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
# A connection that cannot be had is given up at once and tried again when someone needs one,
# so that recovery follows the database's and not a back-off that has grown meanwhile.
_RECONNECT_SECONDS: Final = 0.5


class ReadPool:
    """A few connections, opened as they are needed. Bound to the event loop that opens it."""

    def __init__(self, url: str, connections_max: int = CONNECTIONS_MAX) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            watched(url),
            min_size=1,
            max_size=connections_max,
            open=False,
            configure=_configure,
            max_waiting=WAITING_MAX,
            reconnect_timeout=_RECONNECT_SECONDS,
            name="reads",
            kwargs={"autocommit": True, "prepare_threshold": 0},
        )
        self._connections_max = connections_max

    async def open(self) -> None:
        """Begin to connect, without waiting for it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def read(self, work: Work[Result], wait_seconds: float = READ_WAIT_SECONDS) -> Result:
        """Run `work`, again if its connection turns out to be dead. Raises `Unavailable`."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        for _ in range(self._connections_max + 1):  # at worst each one in the pool is dead
            try:
                return await self._once(work, deadline)
            except _ConnectionDied:
                continue
        raise Unavailable("the database closes its connections")

    async def write(self, work: Work[Result], wait_seconds: float = READ_WAIT_SECONDS) -> Result:
        """Run `work` once. Raises `Unavailable`, after which it may have taken effect or not."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        return await self._once(work, deadline)

    async def _once(self, work: Work[Result], deadline: float) -> Result:
        connection = await self._borrow(deadline)
        try:
            async with _cut_at(deadline, connection):
                return await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if connection.closed and asyncio.get_running_loop().time() < deadline:
                raise _ConnectionDied(str(error)) from None
            raise Unavailable("the database does not answer in time") from error
        finally:
            await self._pool.putconn(connection)

    async def _borrow(self, deadline: float) -> Connection:
        wait_seconds = deadline - asyncio.get_running_loop().time()
        if wait_seconds <= 0:
            raise Unavailable("the database does not answer in time")
        try:
            return await self._pool.getconn(timeout=wait_seconds)
        except (PoolTimeout, PoolClosed):
            raise Unavailable("no connection to the database") from None
        except TooManyRequests:
            raise Unavailable("overloaded") from None


class _ConnectionDied(Unavailable):
    """Another connection may do better."""


@asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """What is read inside is of one instant, however many statements it takes."""
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute("COMMIT")


@asynccontextmanager
async def _cut_at(deadline: float, connection: Connection) -> AsyncIterator[None]:
    timer = asyncio.get_running_loop().call_at(deadline, _cut, connection)
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection) -> None:
    """Shut the socket down: whoever waits on it gets an error at once."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as hung,
    ):
        hung.shutdown(socket.SHUT_RDWR)


async def _configure(connection: Connection) -> None:
    await connection.execute(_SESSION, prepare=False)
