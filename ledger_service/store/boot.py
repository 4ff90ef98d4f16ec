"""Refuse to serve where the ledger's promises could not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from ledger_service.errors import RefusedToStart, Unavailable
from ledger_service.store.migrate import migrations
from ledger_service.store.statements import load_statements

_SQL: Final = load_statements("fitness")
_CONNECT_TIMEOUT_SECONDS: Final = 5


def check_boot(url: str) -> None:
    """Raises `RefusedToStart` with every reason, or `Unavailable` when nobody answers."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_SECONDS) as c:
            reasons = _reasons(c)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database does not answer: {error}") from None
    if reasons:
        raise RefusedToStart("; ".join(reasons))


def _reasons(connection: psycopg.Connection[Any]) -> list[str]:
    server, role = _row(connection, "server"), _row(connection, "role")
    reasons = [
        f"{name} is off: a crash could lose or tear what was acknowledged"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if server[name] == "off"
    ]
    if server["is_replica"]:
        reasons.append("the server is a replica")
    if server["encoding"] != "UTF8":
        reasons.append(f"the database's encoding is {server['encoding']}, not UTF8")
    if role["is_superuser"] or role["bypasses_row_security"]:
        reasons.append("the role is a superuser or bypasses row security")
    if schema := schema_fault(connection):
        return [*reasons, schema]  # without the schema there is nothing more to ask
    if role["is_owner"]:
        reasons.append("the role owns the schema; serve as ledger_app")
    changes = connection.execute(_SQL["may_change_history"]).fetchone()
    if changes is None or changes[0]:
        reasons.append("the role may change or delete events")
    return reasons


def schema_fault(connection: psycopg.Connection[Any]) -> str | None:
    """Why the schema is not exactly the one that this code knows; None when it is."""
    try:
        rows = connection.execute(_SQL["migrations"]).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return "the schema is missing; run `credit-ledger migrate`"
    return compare_schema(rows)


def compare_schema(rows: Sequence[tuple[int, str, bool]]) -> str | None:
    """Compare applied migrations (number, digest, breaking) with those that this code brings.

    Newer code may have added to the schema while this process serves beside it: that is no fault,
    unless a migration says of itself that older code must not go on.
    """
    applied = {number: sha256 for number, sha256, _ in rows}
    breaking = {number for number, _, is_breaking in rows if is_breaking}
    known = {migration.number: migration.sha256 for migration in migrations()}
    if missing := sorted(known.keys() - applied.keys()):
        return f"migrations {missing} are missing; run `credit-ledger migrate`"
    if unknown := sorted((applied.keys() - known.keys()) & breaking):
        return f"migrations {unknown} are unknown: the database belongs to newer code"
    if edited := sorted(number for number in known if known[number] != applied[number]):
        return f"migrations {edited} differ from what was applied"
    return None


def _row(connection: psycopg.Connection[Any], name: str) -> dict[str, Any]:
    row = connection.cursor(row_factory=dict_row).execute(_SQL[name]).fetchone()
    assert row is not None
    return row
