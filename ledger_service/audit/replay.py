"""Fold the whole log from nothing and compare the result with every head and row.

Read in one snapshot of the database, so it may run beside a busy ledger. A long log is folded in
shares, one per processor.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Final

import msgspec

from ledger_service.audit.rows import SQL, Connection, Share
from ledger_service.audit.share import Found, connect, fold_apart, fold_share

LONG_EVENTS: Final = 50_000
"""From here on the processes that share the work are worth the second that they take to start."""
SHARES_MAX: Final = 16

Progress = Callable[[int, int], None]


class Report(msgspec.Struct, kw_only=True):
    """What a replay found; `differences` is empty when the ledger is what its log says."""

    events: int = 0
    accounts: int = 0
    generations: int = 0
    head: int = 0
    seconds: float = 0.0
    shares: int = 1
    credits_granted: int = 0
    credits_spent: int = 0
    credits_posted: int = 0
    differences: list[str] = msgspec.field(default_factory=list)


def replay(
    database_url: str,
    progress: Progress | None = None,
    shares: int | None = 1,
) -> Report:
    """Replay and compare; `progress` is told (position, head).

    `shares`: how many processes, rounded down to a power of two; None for one per processor, or
    one in all if the log is short. The main module must bear being imported, since they do that.
    Raises `psycopg.Error` when the database cannot be read.
    """
    started = time.perf_counter()
    with connect(database_url) as connection:
        row = connection.execute(SQL["head"]).fetchone()
        head = row[0] if row else 0
        count = _power_of_two(shares or (_processors() if head >= LONG_EVENTS else 1))
        with _elsewhere(database_url, connection, count) as others:
            found = fold_share(connection, Share(0, count), _told(progress, head))
            for other in others:
                found.add(other)
        _check_whole(connection, found, head)
    return Report(
        events=found.events,
        accounts=found.accounts,
        generations=found.generations,
        head=head,
        seconds=time.perf_counter() - started,
        shares=count,
        credits_granted=found.granted,
        credits_spent=found.spent,
        credits_posted=found.posted,
        differences=found.differences,
    )


@contextmanager
def _elsewhere(database_url: str, connection: Connection, count: int) -> Iterator[Iterator[Found]]:
    """All shares but the first, folded by other processes in this connection's snapshot."""
    if count == 1:
        yield iter(())
        return
    row = connection.execute(SQL["export_snapshot"]).fetchone()
    assert row is not None
    # Not forked: a copy of this process would share its connection.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count - 1, mp_context=context) as pool:
        futures = [
            pool.submit(fold_apart, database_url, row[0], Share(number, count))
            for number in range(1, count)
        ]
        yield (future.result() for future in futures)


def _check_whole(connection: Connection, found: Found, head: int) -> None:
    """Positions are dense, and what left accounts came to accounts."""
    if found.events != head or found.last != head:
        row = connection.execute(SQL["gap"]).fetchone()
        after = f", {row[0]} is missing" if row else ""
        found.differs(
            f"the log has {found.events} events up to {found.last}{after}; its head says {head}"
        )
    if found.transferred_in != found.transferred_out:
        found.differs(
            f"A3: {found.transferred_in} credits came from other accounts, "
            f"{found.transferred_out} went to them"
        )


def _told(progress: Progress | None, head: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda position: progress(position, head)


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)), SHARES_MAX)


def _power_of_two(count: int) -> int:
    return 1 << (count.bit_length() - 1)
