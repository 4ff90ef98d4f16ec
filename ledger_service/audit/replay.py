"""Fold the whole log from nothing and compare the result with every head and row.

Read in one snapshot of the database, so it may run beside a busy ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC
from itertools import chain
from typing import Any, Final

import msgspec
import psycopg

from ledger_service.audit.compare import differences
from ledger_service.audit.fold import Fold
from ledger_service.audit.projections import ProjectionCheck
from ledger_service.domain.account.equations import check_equations
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent
from ledger_service.errors import CorruptHistory
from ledger_service.projections.rows import Place
from ledger_service.store.statements import load_statements

_SQL: Final = load_statements("replay")
_ROWS_PER_FETCH: Final = 2_000
DIFFERENCES_MAX: Final = 50


class Report(msgspec.Struct, kw_only=True):
    """What a replay found; `differences` is empty when the ledger is what its log says."""

    events: int = 0
    accounts: int = 0
    generations: int = 0
    head: int = 0
    seconds: float = 0.0
    credits_granted: int = 0
    credits_spent: int = 0
    credits_posted: int = 0
    differences: list[str] = msgspec.field(default_factory=list)

    def differs(self, text: str) -> None:
        """Note a difference; past a bound only that there are more."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(text)
        elif len(self.differences) == DIFFERENCES_MAX:
            self.differences.append("… and more")


def replay(database_url: str, progress: Callable[[int, int], None] | None = None) -> Report:
    """Replay and compare; `progress` is told (events so far, head).

    Raises `psycopg.Error` when the database cannot be read.
    """
    report, fold = Report(), Fold()
    started = time.perf_counter()
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        row = connection.execute(_SQL["head"]).fetchone()
        report.head = row[0] if row else 0
        check = ProjectionCheck(connection)
        _fold_events(connection, report, fold, check, progress)
        for difference in chain(differences(connection, fold), check.differences()):
            report.differs(difference)
    report.accounts, report.generations = len(fold.accounts), len(fold.generations)
    for state in fold.accounts.values():
        report.credits_granted += state.totals.granted
        report.credits_spent += state.totals.spent
        report.credits_posted += state.posted
    report.seconds = time.perf_counter() - started
    return report


def _fold_events(
    connection: psycopg.Connection[Any],
    report: Report,
    fold: Fold,
    check: ProjectionCheck,
    progress: Callable[[int, int], None] | None,
) -> None:
    open_accounts: set[str] = set()
    for position, owner, stream, version, topic, state, at, last, actor in _events(connection):
        if position != report.events + 1:
            report.differs(f"position {position} follows {report.events}")
        report.events = position
        try:
            event = decode(topic, state)
            fold.add(owner, stream, version, event, at.astimezone(UTC))
            for difference in check.see(Place(position, owner, version, at, actor), event, fold):
                report.differs(difference)
            if isinstance(event, AccountEvent):
                open_accounts.add(stream)
            if last:
                for changed in open_accounts:
                    check_equations(fold.accounts[changed])
                open_accounts.clear()
        except (CorruptHistory, AssertionError) as error:
            # An assertion that fails is a bug elsewhere; here somebody may have changed the log.
            report.differs(f"position {position}: {error}")
        if progress is not None and position % _ROWS_PER_FETCH == 0:
            progress(position, report.head)
    if report.events != report.head:
        report.differs(f"the log ends at {report.events}, its head says {report.head}")


def _events(connection: psycopg.Connection[Any]) -> Iterator[Any]:
    with connection.cursor(name="replay", binary=True) as cursor:
        cursor.itersize = _ROWS_PER_FETCH
        cursor.execute(_SQL["events"])
        yield from cursor
