"""What the database itself refuses, whatever the code above it may do."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg import errors as pg

from ledger_service.errors import RefusedToStart
from ledger_service.store import migrate as migrating
from ledger_service.store.migrate import Migration, migrate, migrations
from tests.fixtures.engines import OWNER, grant, running_engine
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


@pytest.fixture
def granted(database: Database) -> Database:
    """A database with a history of two events."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)

    asyncio.run(scenario())
    return database


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.events SET actor = 'someone else'",
        "DELETE FROM ledger.events",
        "TRUNCATE ledger.events",
        "INSERT INTO ledger.events SELECT * FROM ledger.events "
        "ON CONFLICT (owner, stream, version) DO UPDATE SET actor = 'someone else'",
        "ALTER TABLE ledger.events DISABLE TRIGGER ALL",
        "DROP TABLE ledger.events",
        "SET session_replication_role = replica",
        "CREATE RULE mine AS ON DELETE TO ledger.events DO INSTEAD NOTHING",
        "DELETE FROM ledger.heads",
        "DELETE FROM ledger.logs",
        "UPDATE ledger.logs SET log = 'other'",
        "UPDATE public.ledger_migrations SET sha256 = ''",
        "CREATE TABLE ledger.mine (x int)",
        "ALTER ROLE ledger_app SUPERUSER",
    ],
)
def test_the_serving_role_cannot_change_history(granted: Database, statement: str) -> None:
    """It may add events and rebuildable rows, and nothing else."""
    with granted.connect() as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.events SET actor = 'someone else'",
        "DELETE FROM ledger.events",
        "TRUNCATE ledger.events",
    ],
)
def test_triggers_stop_the_owner_as_well(granted: Database, statement: str) -> None:
    """A mistake of the owner's does not cost history."""
    with granted.connect_owner() as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_position_a_version_and_a_key_are_taken_once(granted: Database) -> None:
    """Locks are for speed; these constraints are the truth."""
    copy = (
        "INSERT INTO ledger.events SELECT log, {position}, owner, stream, {version}, topic, state, "
        "actor, key_space, key_digest, fingerprint, trace_id, occurred_at, recorded_at, "
        "last_of_command FROM ledger.events WHERE version = 2"
    )
    for position, version, constraint in (
        ("2", "9", "events_position"),
        ("9", "2", "events_pkey"),
        ("9", "9", "events_key"),
    ):
        with granted.connect() as connection, pytest.raises(pg.UniqueViolation) as caught:
            connection.execute(copy.format(position=position, version=version).encode())
        assert caught.value.diag.constraint_name == constraint


def test_no_debit_gives_back_more_than_it_took(granted: Database) -> None:
    """In sum and slice by slice."""
    insert = (
        "INSERT INTO ledger.debit_refunds "
        "(owner, debit_id, amount, refunded, taken, given_back, refund_version) "
        "VALUES (%s, 'd', 10, %s, '{6,4}', %s, 1)"
    )
    for refunded, given_back in ((11, [6, 4]), (10, [7, 3]), (5, [5]), (-1, [0, 0])):
        with granted.connect() as connection, pytest.raises(pg.CheckViolation):
            connection.execute(insert, (OWNER, refunded, given_back))
    with granted.connect() as connection:
        connection.execute(insert, (OWNER, 10, [6, 4]))


def test_an_event_lies_in_a_stream_of_its_owner(granted: Database) -> None:
    """A stream's name begins with its owner, so nothing can lie with somebody else."""
    with granted.connect() as connection, pytest.raises(pg.CheckViolation):
        connection.execute(
            b"INSERT INTO ledger.events (log, position, owner, stream, version, topic, state, "
            b"occurred_at, recorded_at, last_of_command) "
            b"VALUES ('main', 9, 'demo/a', 'demo/ab', 1, 't', '', now(), now(), true)"
        )


def test_migrating_twice_applies_nothing(database: Database) -> None:
    """Applied files are known by number and digest."""
    assert migrate(database.owner_url) == []


def test_an_edited_migration_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was applied must be what the file says."""
    edited = [Migration(m.number, m.name, m.text + "\n-- edited") for m in migrations()]
    monkeypatch.setattr(migrating, "migrations", lambda: edited)
    with pytest.raises(RefusedToStart, match="edited"):
        migrate(database.owner_url)


def test_migrations_run_on_a_clean_database(bare_database: Database) -> None:
    """All of them, in order, by an owner that is no superuser."""
    assert migrate(bare_database.owner_url) == [m.name for m in migrations()]
    with psycopg.connect(bare_database.owner_url) as connection:
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert row.fetchone() == (False,)
