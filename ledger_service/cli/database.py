"""A connection for one command of the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg

from ledger_service.errors import Unavailable
from ledger_service.settings import read_settings

Connection = psycopg.AsyncConnection[Any]
Result = TypeVar("Result")


def with_database(
    work: Callable[[Connection], Awaitable[Result]], *, autocommit: bool = False
) -> Result:
    """Do it with the serving role's rights. Raises `Unavailable`."""
    url = read_settings().database_url

    async def connected() -> Result:
        connect = psycopg.AsyncConnection.connect(url, autocommit=autocommit, connect_timeout=5)
        async with await connect as connection:
            return await work(connection)

    try:
        return asyncio.run(connected())
    except psycopg.Error as error:
        raise Unavailable(f"the database: {error}") from None
