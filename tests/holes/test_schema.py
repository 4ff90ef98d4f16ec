"""Hole 24: the schema that a clean database gets is the one that the code was written for."""

from __future__ import annotations

from importlib import resources

import psycopg
import pytest

from ledger_service.store.migrate import migrations
from ledger_service.store.statements import load_statements
from tests.fixtures.live import expect, serve
from tests.fixtures.services import Cluster, Database, Processes

pytestmark = pytest.mark.slow

FILES = sorted(
    path.name.removesuffix(".sql")
    for path in (resources.files("ledger_service.store") / "queries").iterdir()
    if path.name.endswith(".sql")
)


def test_hole_24_a_clean_database_becomes_a_ledger(
    postgres: Cluster, bare_database: Database, processes: Processes
) -> None:
    """Two of the migrations failed on a clean database: wrong order, and one thing made twice."""
    postgres.migrate(bare_database)
    with bare_database.connect() as connection:
        query = "SELECT number, name FROM public.ledger_migrations ORDER BY number"
        applied = connection.execute(query).fetchall()
    assert applied == [(migration.number, migration.name) for migration in migrations()]
    ledger = serve(processes, bare_database)
    ledger.caller.grant("first-of-all", 10)
    assert ledger.caller.balance("first-of-all")["posted"] == 10
    postgres.migrate(bare_database)  # under a serving ledger, as a deployment does
    assert expect(200, ledger.caller.get("/v1/accounts/first-of-all"))["version"] == 2
    ledger.close()


@pytest.mark.parametrize("file", FILES)
def test_hole_24_every_statement_fits_the_schema(database: Database, file: str) -> None:
    """Code named columns and tables that no migration made; it failed when it first ran."""
    with database.connect() as connection:  # as the serving role, with its rights
        for name, statement in load_statements(file).items():
            with connection.transaction(force_rollback=True):
                try:
                    connection.execute(f"PREPARE checked AS {statement}".encode(), prepare=False)
                    connection.execute("DEALLOCATE checked")
                except psycopg.Error as error:
                    pytest.fail(f"{file}.sql, {name}: {error}")
