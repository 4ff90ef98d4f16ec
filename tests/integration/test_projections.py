"""Projections are what the log says, row by row, whatever happens to those who make them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import psycopg
import pytest

from ledger_service.audit.replay import replay
from ledger_service.projections.follower import VERSION, Follower
from tests.fixtures.engines import running_engine
from tests.fixtures.live import environment
from tests.fixtures.lives import Lives
from tests.fixtures.services import Database, Processes

pytestmark = pytest.mark.slow

OWNERS = tuple(f"demo/user-{n}" for n in range(4))
TABLES = ("entries", "bearings", "lot_uses", "hold_changes", "account_snapshots", "past_lots")
EVERYTHING_DONE = 18
"""Kinds of commands that a long life has at least."""


async def lived(database: Database, seed: int, moves: int) -> Lives:
    """Some accounts with a past."""
    async with running_engine(database.url) as engine:
        lives = Lives(engine, seed, OWNERS)
        await lives.live(moves)
        return lives


def followed(database: Database, **options: Any) -> int:
    """Let a follower catch up; returns how many events it took in."""
    follower = Follower(database.url, **options)
    try:
        return follower.catch_up()
    finally:
        follower.close()


def contents(database: Database) -> dict[str, list[Any]]:
    """All rows of all projections, sorted."""
    with database.connect() as connection:
        return {
            table: sorted(map(repr, connection.execute(f"SELECT * FROM ledger.{table}".encode())))
            for table in TABLES
        }


def test_entries_add_up_to_the_balance(database: Database) -> None:
    """At every entry, the signed amounts so far are the posted balance; none is missing."""
    lives = asyncio.run(lived(database, seed=1, moves=1_500))
    assert len(lives.kinds_done) >= EVERYTHING_DONE
    followed(database)
    with database.connect() as connection:
        for owner in OWNERS:
            rows = connection.execute(
                "SELECT version, amount, direction, posted_after FROM ledger.entries"
                " WHERE owner = %s ORDER BY version",
                (owner,),
            ).fetchall()
            posted = 0
            for ordinal, (version, amount, direction, after) in enumerate(rows, 1):
                posted += {"credit": amount, "debit": -amount, "none": 0}[direction]
                assert (version, posted) == (ordinal, after)


def test_a_replay_agrees_with_the_projections(database: Database) -> None:
    """Whole, half-way, and made anew: what stands in them is what the log says."""
    asyncio.run(lived(database, seed=2, moves=300))
    followed(database, snapshot_every=9)
    assert replay(database.url).differences == []
    asyncio.run(lived(database, seed=3, moves=100))
    assert replay(database.url).differences == []
    followed(database, snapshot_every=9)
    before = contents(database)
    assert all(before.values()), "the scenario fills every table"
    follower = Follower(database.url, snapshot_every=9)
    follower.forget()
    assert not any(contents(database).values())
    assert replay(database.url).differences == []
    follower.catch_up()
    follower.close()
    assert contents(database) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger.entries SET amount = amount + 1 WHERE version = 2",
        "DELETE FROM ledger.entries WHERE version = 3",
        "DELETE FROM ledger.bearings",
        "INSERT INTO ledger.lot_uses VALUES ('demo/user-1', 'grt_0', 1, 1)",
        "DELETE FROM ledger.hold_changes",
        "UPDATE ledger.account_snapshots SET snapshot = (SELECT min(snapshot)"
        " FROM ledger.account_snapshots)",
    ],
)
def test_a_replay_finds_what_the_projections_made_up(database: Database, change: str) -> None:
    """A row too many, too few or changed is told."""
    asyncio.run(lived(database, seed=7, moves=150))
    followed(database, snapshot_every=20)
    assert replay(database.url).differences == []
    with database.connect_owner() as owner:
        owner.execute(change.encode())
    assert replay(database.url).differences


def test_a_follower_that_is_killed_loses_and_doubles_nothing(database: Database) -> None:
    """Two followers whose connections are cut again and again while the ledger is busy."""
    is_over = threading.Event()

    def follow() -> None:
        follower = Follower(database.url, snapshot_every=9)
        while not is_over.is_set():
            try:
                follower.catch_up(is_over.is_set)
            except psycopg.Error:
                follower.close()
        follower.close()

    followers = [threading.Thread(target=follow) for _ in range(2)]
    for thread in followers:
        thread.start()
    cuts = cutting(database, is_over)
    asyncio.run(lived(database, seed=11, moves=500))
    is_over.set()
    for thread in (*followers, cuts):
        thread.join()
    followed(database, snapshot_every=9)
    assert replay(database.url).differences == []
    made = contents(database)
    follower = Follower(database.url, snapshot_every=9)
    follower.forget()
    follower.catch_up()
    follower.close()
    assert {table: made[table] for table in TABLES[:4]} == {
        table: rows for table, rows in contents(database).items() if table in TABLES[:4]
    }


def cutting(database: Database, is_over: threading.Event) -> threading.Thread:
    """Cut connections that are at the projections, a few times each second."""
    cut = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = %s AND pid <> pg_backend_pid() AND query ~ 'projections|snapshots_due'"
    )

    def work() -> None:
        chance, cuts = random.Random(0), 0
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            while not is_over.is_set():
                row = connection.execute(cut, (database.name,)).fetchone()
                cuts += row[0] if row else 0
                time.sleep(chance.random() * 0.05)
        assert cuts > 5

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_projections_of_older_code_are_made_anew(database: Database) -> None:
    """What they mean may have changed; those of newer code are left alone."""
    asyncio.run(lived(database, seed=5, moves=60))
    taken = followed(database)
    assert followed(database) == 0
    with database.connect() as connection:
        connection.execute("UPDATE ledger.projections SET version = version - 1")
        connection.execute("DELETE FROM ledger.entries")
    assert followed(database) == taken
    assert replay(database.url).differences == []
    asyncio.run(lived(database, seed=6, moves=20))
    with database.connect() as connection:
        connection.execute("UPDATE ledger.projections SET version = %s", (VERSION + 1,))
    assert followed(database) == 0


def test_the_command_makes_them_anew(database: Database, processes: Processes) -> None:
    """`credit-ledger projections rebuild` ends with all of the log in the projections."""
    asyncio.run(lived(database, seed=5, moves=60))
    env = environment(database, processes.folder)
    head = replay(database.url).head
    status = processes.run("ledger_service", "projections", "status", env=env)
    assert status == f"0 of {head} events are in the projections\n"
    rebuilt = processes.run("ledger_service", "projections", "rebuild", env=env)
    assert rebuilt == f"{head} of {head} events are in the projections\n"
    assert replay(database.url).differences == []
