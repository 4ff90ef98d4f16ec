"""Fold the whole log from nothing and compare the result with every head and row.

Read in one snapshot of the database, so it may run beside a busy ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg

from ledger_service.domain.account.equations import check_equations
from ledger_service.domain.account.evolve import evolve, touched_lots
from ledger_service.domain.account.state import (
    NO_OVERFLOW,
    AccountState,
    Lot,
    burn_key,
    with_lots,
)
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import AccountEvent, CreditsDebited, DebitRefunded
from ledger_service.domain.events.generation import GenerationEvent
from ledger_service.domain.generation.evolve import evolve_generation
from ledger_service.domain.generation.state import GenerationState
from ledger_service.errors import CorruptHistory
from ledger_service.store.heads import decode_account, decode_generation, decode_lot
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


class Fold:
    """Every stream's state, folded event by event. Lots with nothing left wait on a shelf."""

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.generations: dict[str, GenerationState] = {}
        self.shelves: dict[str, dict[str, Lot]] = {}
        self.refunds: dict[tuple[str, str], DebitRefunded] = {}
        self.debits: dict[tuple[str, str], int] = {}

    def add(self, owner: str, stream: str, version: int, event: Any, recorded_at: datetime) -> None:
        """Fold one event. Raises `CorruptHistory` when it cannot follow what came before."""
        if isinstance(event, GenerationEvent):
            before = self.generations.get(stream)
            _expect(version == (before.version if before else 0) + 1, stream, version)
            self.generations[stream] = evolve_generation(
                before, event, version, recorded_at, owner=owner
            )
            return
        state = self.accounts.get(stream)
        _expect(version == (state.version if state else 0) + 1, stream, version)
        if state is not None:
            state = self._unshelved(state, stream, event)
        state = evolve(state, event, version, recorded_at)
        _expect(event.posted == state.posted and event.held == state.held, stream, version)
        self._note_debits(owner, event)
        self.accounts[stream] = self._shelved(state, stream)

    def _unshelved(self, state: AccountState, stream: str, event: AccountEvent) -> AccountState:
        shelf = self.shelves.get(stream)
        if not shelf:
            return state
        lots = [shelf.pop(grant_id) for grant_id in touched_lots(event) if grant_id in shelf]
        return with_lots(state, lots, all_live=True) if lots else state

    def _shelved(self, state: AccountState, stream: str) -> AccountState:
        if all(lot.remaining for lot in state.lots):
            return state
        left = {lot.grant_id: lot for lot in state.lots if lot.remaining == 0}
        self.shelves.setdefault(stream, {}).update(left)
        live = tuple([lot for lot in state.lots if lot.remaining > 0])
        return msgspec.structs.replace(state, lots=live)

    def _note_debits(self, owner: str, event: AccountEvent) -> None:
        if isinstance(event, CreditsDebited):
            self.debits[owner, event.debit_id] = event.amount
        elif isinstance(event, DebitRefunded):
            place = (owner, event.debit_id)
            before = self.refunds.get(place)
            total = (before.refunded if before else 0) + event.amount
            if total != event.refunded or total > self.debits.get(place, 0):
                raise CorruptHistory(f"{event.debit_id}: refunded {total} of a smaller debit")
            self.refunds[place] = event


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
        _fold_events(connection, report, fold, progress)
        _compare_heads(connection, report, fold)
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
    progress: Callable[[int, int], None] | None,
) -> None:
    open_accounts: set[str] = set()
    for position, owner, stream, version, topic, state, recorded_at, last in _events(connection):
        if position != report.events + 1:
            report.differs(f"position {position} follows {report.events}")
        report.events = position
        try:
            event = decode(topic, state)
            fold.add(owner, stream, version, event, recorded_at.astimezone(UTC))
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


def _compare_heads(connection: psycopg.Connection[Any], report: Report, fold: Fold) -> None:
    beyond: dict[str, list[Lot]] = {}
    left: dict[str, dict[str, Lot]] = {}
    for owner, place, state in connection.execute(_SQL["lots"]):
        lot = decode_lot(state)
        if place == "o":
            beyond.setdefault(owner, []).append(lot)
        else:
            left.setdefault(owner, {})[lot.grant_id] = lot
    seen = set()
    for owner, stream, posted, held, debt, snapshot, snapshot_version in connection.execute(
        _SQL["heads"]
    ):
        seen.add(stream)
        if stream != owner:
            stored = decode_generation(snapshot, snapshot_version)
            if stored != fold.generations.get(stream):
                report.differs(f"{stream}: the head is not what the log says")
            continue
        head = decode_account(snapshot, snapshot_version)
        folded = fold.accounts.get(stream)
        if folded is None or _whole(head, beyond.get(owner, [])) != folded:
            report.differs(f"{stream}: the head is not what the log says")
        if (posted, held, debt) != (head.posted, head.held, head.debt):
            report.differs(f"{stream}: the head's columns are not what its snapshot says")
        if fold.shelves.get(stream, {}) != left.get(owner, {}):
            report.differs(f"{stream}: lots with nothing left are not what the log says")
    for stream in (fold.accounts.keys() | fold.generations.keys()) - seen:
        report.differs(f"{stream}: has events and no head")
    _compare_refunds(connection, report, fold)


def _compare_refunds(connection: psycopg.Connection[Any], report: Report, fold: Fold) -> None:
    stored = {
        (owner, debit_id): refunded
        for owner, debit_id, refunded in connection.execute(_SQL["refunds"])
    }
    folded = {place: event.refunded for place, event in fold.refunds.items()}
    for place in stored.items() ^ folded.items():
        report.differs(f"{place[0][1]}: what was refunded is not what the log says")


def _whole(head: AccountState, beyond: list[Lot]) -> AccountState:
    lots = tuple(sorted([*head.lots, *beyond], key=burn_key))
    return msgspec.structs.replace(head, lots=lots, overflow=NO_OVERFLOW)


def _expect(holds: bool, stream: str, version: int) -> None:
    if not holds:
        raise CorruptHistory(f"{stream} {version}: does not follow from what came before")
