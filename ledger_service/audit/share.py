"""A part of the log that is folded by itself: everything of some owners.

What happens to an owner depends on no other owner's state, so shares are folded side by side, each
in a process of its own, all in one snapshot of the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from itertools import chain
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from ledger_service.audit.compare import differences, moved
from ledger_service.audit.fold import Fold
from ledger_service.audit.projections import ProjectionCheck
from ledger_service.audit.rows import ROWS_PER_FETCH, Connection, Share
from ledger_service.domain.account.equations import check_equations
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent
from ledger_service.errors import CorruptHistory
from ledger_service.projections.rows import Place

DIFFERENCES_MAX: Final = 50


class Found(msgspec.Struct, kw_only=True):
    """What the fold of a share came to. Credits; `last` is the highest position."""

    events: int = 0
    last: int = 0
    accounts: int = 0
    generations: int = 0
    granted: int = 0
    spent: int = 0
    posted: int = 0
    transferred_in: int = 0
    transferred_out: int = 0
    differences: list[str] = msgspec.field(default_factory=list)

    def differs(self, text: str) -> None:
        """Note a difference; past a bound only that there are more."""
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(text)
        elif len(self.differences) == DIFFERENCES_MAX:
            self.differences.append("… and more")

    def add(self, other: Found) -> None:
        """What another share came to, too."""
        self.last = max(self.last, other.last)
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for difference in other.differences:
            self.differs(difference)


_SUMS: Final = tuple(
    name for name in Found.__struct_fields__ if name not in {"last", "differences"}
)


def connect(database_url: str, snapshot: str | None = None) -> Connection:
    """A connection that sees one moment: now, or that of a snapshot exported by another one."""
    connection = psycopg.connect(database_url)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    if snapshot is not None:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    return connection


def fold_apart(database_url: str, snapshot: str, share: Share) -> Found:
    """Fold a share on a connection of its own; for another process."""
    with connect(database_url, snapshot) as connection:
        return fold_share(connection, share)


def fold_share(
    connection: Connection, share: Share, progress: Callable[[int], None] | None = None
) -> Found:
    """Fold a share and compare it with every row that the ledger keeps of its owners.

    `progress` is told the position that was reached. Raises `psycopg.Error` when the database
    cannot be read.
    """
    found, fold = Found(), Fold()
    stored = partial(share.rows, connection)
    check = ProjectionCheck(connection, share)
    _fold_events(stored("events"), found, fold, check, progress)
    for difference in chain(differences(stored, fold), check.differences()):
        found.differs(difference)
    found.accounts, found.generations = len(fold.accounts), len(fold.generations)
    for state in fold.accounts.values():
        found.granted += state.totals.granted
        found.spent += state.totals.spent
        found.posted += state.posted
    found.transferred_in, found.transferred_out = moved(fold)
    return found


def _fold_events(
    rows: Iterator[Any],
    found: Found,
    fold: Fold,
    check: ProjectionCheck,
    progress: Callable[[int], None] | None,
) -> None:
    accounts = fold.accounts
    changed: set[str] = set()  # since the last command of this share that ended
    for position, owner, stream, version, topic, state, at, last, actor in rows:
        found.events += 1
        found.last = position
        try:
            event = decode(topic, state)
            recorded_at = at.astimezone(UTC)
            fold.add(owner, stream, version, event, recorded_at)
            place = Place(position, owner, version, recorded_at, actor)
            for difference in check.see(place, event, fold):
                found.differs(difference)
            if isinstance(event, AccountEvent):
                changed.add(stream)
            if last:
                for one in changed:
                    check_equations(accounts[one])
                changed.clear()
        except (CorruptHistory, AssertionError) as error:
            # An assertion that fails is a bug elsewhere; here somebody may have changed the log.
            found.differs(f"position {position}: {error}")
        if progress is not None and found.events % ROWS_PER_FETCH == 0:
            progress(position)
