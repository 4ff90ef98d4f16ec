"""The writer's connections: locks, loads and the append, as few round trips as they need.

psycopg's errors leave here as the ledger's own: `Contention` (reload and decide again),
`ConnectionLost`, or `DatabaseUnfit` (no batch can be written now); anything else is a
`StoreRefused`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import errors as pg

from contracts.api.generations import GenerationStatus
from contracts.jobs import JobPriority
from ledger_service.domain.account.state import Lot
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted, LotDerived
from ledger_service.domain.events.holds import HoldCaptured
from ledger_service.domain.generation.state import Job
from ledger_service.domain.ids import first_id, milliseconds_of, version_in
from ledger_service.domain.world import DebitState, GrantFacts, HoldState, LotKey, debit_state
from ledger_service.errors import Contention, Unavailable
from ledger_service.store.arrays import plain_array
from ledger_service.store.binary import bytea_array, int_value, text_array
from ledger_service.store.columns import Reliance, Writes, append_values
from ledger_service.store.folding import Result, Steps, converse
from ledger_service.store.heads import decode_hold, decode_lot
from ledger_service.store.line import Line, Query, Rows, open_line
from ledger_service.store.statements import load_statements
from ledger_service.store.wanted import Head, KeyRow, Loaded, Looked, Verdict, Wanted, WantedLook

_SQL: Final = load_statements("writer")
# Each of our statements looks rows up by key. A plan is made once per connection, perhaps while
# the tables are small, and must still be right when they are large; left to itself, PostgreSQL
# would plan each of them anew for every batch, which takes longer than carrying it out.
_SESSION: Final = """
SET timezone = 'UTC'; SET synchronous_commit = on; SET jit = off;
SET plan_cache_mode = force_generic_plan;
SET lock_timeout = '1s'; SET statement_timeout = '5s';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET idle_in_transaction_session_timeout = '2s';
-- PostgreSQL 17 and newer: no transaction of ours may last, whatever its client does.
SELECT set_config('transaction_timeout', '8s', false)
WHERE current_setting('server_version_num')::int >= 170000
"""
_BEGIN: Final = Query("BEGIN")
_COMMIT: Final = Query("COMMIT")
_ROLLBACK: Final = Query("ROLLBACK")


class ConnectionLost(Unavailable):
    """The connection broke; `commit_sent` says that the commit may have gone through."""

    def __init__(self, reason: str, *, commit_sent: bool) -> None:
        super().__init__(reason)
        self.commit_sent = commit_sent


class DatabaseUnfit(Unavailable):
    """The server answers and takes no batch, whatever is in it: read-only since a failover, disk
    full, too slow. Nothing was applied."""


class StoreRefused(Exception):
    """The database refused a batch for a reason that a retry does not cure."""


class WritingConnection:
    """One open connection for the writer; `connect` makes it.

    From `begin` to `commit`, `end` or `rollback` it belongs to one batch. `append` and `look` may
    be called again while earlier ones are on their way.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def is_lost(self) -> bool:
        """It is of no use any more."""
        return self._line.is_broken

    def close(self) -> None:
        """Close it; never raises."""
        self._line.close()

    def append(self, writes: Writes, relies_on: Reliance) -> Awaitable[Verdict]:
        """Send what was decided without locks; the verdict comes when it is durable, or refused."""
        query = Query(_SQL["append"], append_values(writes, relies_on))
        return self._verdict(self._line.send(query))

    async def _verdict(self, sent: Awaitable[list[Rows]]) -> Verdict:
        with self._translated(commit_sent=True):
            (((outcome, base, now),),) = await sent
        return Verdict(outcome=outcome, base=base, now=now.astimezone(UTC))

    async def look(self, wanted: WantedLook) -> Looked:
        """Read without locks."""
        queries = [Query(_SQL["look"], _columns(wanted.streams))]
        if wanted.holds:
            queries.append(_holds_query(wanted.holds))
        located = _located(wanted.debits)
        if located:
            queries.append(_debits_query(located))
        if wanted.subjects:
            queries.append(Query(_SQL["load_subject_keys"], (text_array(wanted.subjects),)))
        with self._translated(commit_sent=False):
            rows, *more = await self._line.send(*queries)
        subjects = more.pop() if wanted.subjects else []
        debits = more.pop() if located else []
        holds = more.pop() if wanted.holds else []
        return Looked(
            now=rows[0][0].astimezone(UTC),
            heads=[Head._make(row[1:]) for row in rows if row[1] is not None],
            holds=_found_holds(wanted.holds, holds),
            debits=_found_debits(wanted.debits, debits),
            subject_keys=dict(subjects),
        )

    async def begin(self, wanted: Wanted) -> Loaded:
        """Open the transaction, lock the heads in the order of their streams, and load."""
        owners, spaces, digests = zip(*wanted.keys, strict=True) if wanted.keys else ((), (), ())
        keys = (text_array(owners), text_array(spaces), bytea_array(digests))
        queries = [
            _BEGIN,
            Query(_SQL["lock_heads"], _columns(wanted.streams)),
            Query(_SQL["clock_and_keys"], keys),
            Query(_SQL["load_policies"], (text_array(wanted.policies),)),
        ]
        if wanted.jobs:
            queries.append(Query(_SQL["load_jobs"], _columns(wanted.jobs)))
        if wanted.subjects:
            values = (text_array(wanted.subjects),)
            queries.append(Query(_SQL["load_subject_keys"], values))
        with self._translated(commit_sent=False):
            _, heads, clock_and_keys, policies, *more = await self._line.send(*queries)
        subjects = more.pop() if wanted.subjects else []
        jobs = more.pop() if wanted.jobs else []
        return Loaded(
            now=clock_and_keys[0][0].astimezone(UTC),
            heads=[Head._make(row) for row in heads],
            keys=[KeyRow._make(row[1:]) for row in clock_and_keys if row[1] is not None],
            jobs=[_job(row) for row in jobs],
            subject_keys=dict(subjects),
            policies=[Head._make(row) for row in policies],
        )

    async def load_debits(self, wanted: Iterable[tuple[str, str]]) -> dict[str, DebitState | None]:
        """Debits by id; None for ids that name none of the owner's debits."""
        pairs = list(wanted)
        located = _located(pairs)
        rows = await self._run(_debits_query(located)) if located else []
        return _found_debits(pairs, rows)

    async def load_grants(self, wanted: Iterable[LotKey]) -> dict[LotKey, GrantFacts | None]:
        """What made these grants, by (owner, id); None for ids that name no grant of the owner."""
        keys = list(wanted)
        found: dict[LotKey, GrantFacts | None] = dict.fromkeys(keys)
        versions = [version_in("grt", grant_id, owner) or 0 for owner, grant_id in keys]
        values = (*_columns(keys), plain_array(versions))
        for grant_id, owner, topic, state, recorded_at in await self._fetch("load_grants", values):
            event = decode(topic, state)
            if isinstance(event, CreditsGranted | LotDerived) and event.grant_id == grant_id:
                facts = GrantFacts(event=event, created_at=recorded_at.astimezone(UTC))
                found[owner, grant_id] = facts
        return found

    async def load_derived(self, wanted: Iterable[LotKey]) -> dict[LotKey, tuple[LotKey, ...]]:
        """Lots that came from these lots, whosever they are."""
        keys = list(wanted)
        found: dict[LotKey, list[LotKey]] = {key: [] for key in keys}
        for home, origin, owner, grant_id in await self._fetch("load_derived", _columns(keys)):
            found[home, origin].append((owner, grant_id))
        return {key: tuple(lots) for key, lots in found.items()}

    async def load_holds(self, wanted: Iterable[tuple[str, str]]) -> dict[str, HoldState | None]:
        """Holds by id, open or not; None for ids that name none of the owner's."""
        pairs = list(wanted)
        return _found_holds(pairs, await self._run(_holds_query(pairs)))

    async def load_open_holds(self, owner: str, reference: str, most: int) -> dict[str, HoldState]:
        """The oldest open holds with a reference, by id."""
        rows = await self._fetch("load_open_holds", (owner, reference, int_value(most)))
        return {hold_id: decode_hold(state) for hold_id, state in rows}

    async def load_in_flight(self, owner: str) -> frozenset[str]:
        """The account's generations that have not ended."""
        rows = await self._fetch("load_in_flight", (owner,))
        return frozenset([generation_id for (generation_id,) in rows])

    async def count_crowd(self, tenant: str, most: int) -> int:
        """How many of a tenant's generations have not ended, counted no further than `most`."""
        ((count,),) = await self._fetch("count_crowd", (tenant, int_value(most)))
        assert isinstance(count, int)
        return count

    async def load_begun(self, whose: str, day: str) -> int:
        """How many generations an account (its owner) or a tenant has begun on a day of UTC."""
        if "/" in whose:
            midnight = datetime.fromisoformat(f"{day}T00:00:00+00:00")
            first = first_id("gen", milliseconds_of(midnight))
            ((begun,),) = await self._fetch("count_begun", (whose, first))
        else:
            ((begun,),) = await self._fetch("load_begun", (whose, day))
        assert isinstance(begun, int)
        return begun

    async def load_lots(self, wanted: Iterable[tuple[str, str]]) -> dict[str, list[Lot]]:
        """Lots (owner, grant id) by owner."""
        return await self._lots("load_lots", _columns(list(wanted)))

    async def load_lots_beyond(self, owners: list[str]) -> dict[str, list[Lot]]:
        """All live lots beyond the heads of these accounts, by owner."""
        return await self._lots("load_lots_beyond", (text_array(owners),))

    async def converse(self, steps: Steps[Result]) -> Result:
        """States from events, under the same locks."""
        return await converse(steps, self._ask)

    async def commit(self, writes: Writes) -> int:
        """Append and commit what was decided under locks; returns the position before the first
        event."""
        query = Query(_SQL["append"], append_values(writes))
        with self._translated(commit_sent=True):
            (((outcome, base, _),), _) = await self._line.send(query, _COMMIT)
        assert outcome == "appended", outcome
        assert isinstance(base, int)
        return base

    async def end(self) -> None:
        """Commit a transaction that has nothing to append."""
        with self._translated(commit_sent=False):
            await self._line.send(_COMMIT)

    async def rollback(self) -> None:
        """Give the locks back; never raises."""
        try:
            await self._line.send(_ROLLBACK)
        except psycopg.Error:
            self.close()

    async def _fetch(self, name: str, values: tuple[str | bytes, ...]) -> Rows:
        return await self._ask(_SQL[name], values)

    async def _ask(self, statement: str, values: tuple[str | bytes, ...]) -> Rows:
        return await self._run(Query(statement, values))

    async def _run(self, query: Query) -> Rows:
        with self._translated(commit_sent=False):
            (rows,) = await self._line.send(query)
        return rows

    async def _lots(self, name: str, values: tuple[bytes, ...]) -> dict[str, list[Lot]]:
        lots: dict[str, list[Lot]] = {}
        for owner, state in await self._fetch(name, values):
            lots.setdefault(owner, []).append(decode_lot(state))
        return lots

    @contextmanager
    def _translated(self, *, commit_sent: bool) -> Iterator[None]:
        try:
            yield
        except (pg.SerializationFailure, pg.DeadlockDetected, pg.LockNotAvailable) as error:
            raise Contention(str(error)) from None
        except pg.UniqueViolation as error:
            raise Contention(error.diag.constraint_name or "") from None
        except (pg.AdminShutdown, pg.IdleInTransactionSessionTimeout) as error:
            raise ConnectionLost(str(error), commit_sent=commit_sent) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if self._line.is_broken:
                raise ConnectionLost(str(error), commit_sent=commit_sent) from None
            raise DatabaseUnfit(str(error)) from None
        except pg.ReadOnlySqlTransaction as error:
            raise DatabaseUnfit(str(error)) from None
        except psycopg.Error as error:
            raise StoreRefused(str(error)) from None


async def connect(url: str) -> WritingConnection:
    """A connection for writing. Raises `ConnectionLost` when it cannot be had."""
    try:
        line = await open_line(url, _SESSION)
    except psycopg.OperationalError as error:
        raise ConnectionLost(str(error), commit_sent=False) from None
    return WritingConnection(line)


def _holds_query(wanted: list[tuple[str, str]]) -> Query:
    return Query(_SQL["load_holds"], _columns(wanted))


def _found_holds(wanted: list[tuple[str, str]], rows: Rows) -> dict[str, HoldState | None]:
    found: dict[str, HoldState | None] = {hold_id: None for _, hold_id in wanted}
    found.update({hold_id: decode_hold(state) for hold_id, state in rows})
    return found


def _located(wanted: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Debits with the versions that their ids name."""
    return [
        (owner, debit_id, version)
        for owner, debit_id in wanted
        if (version := version_in("dbt", debit_id, owner)) is not None
    ]


def _debits_query(located: list[tuple[str, str, int]]) -> Query:
    owners, ids, versions = zip(*located, strict=True)
    return Query(_SQL["load_debits"], (text_array(owners), text_array(ids), plain_array(versions)))


def _found_debits(wanted: list[tuple[str, str]], rows: Rows) -> dict[str, DebitState | None]:
    found: dict[str, DebitState | None] = {debit_id: None for _, debit_id in wanted}
    for debit_id, topic, state, given_back in rows:
        event = decode(topic, state)
        if isinstance(event, CreditsDebited | HoldCaptured) and event.debit_id == debit_id:
            found[debit_id] = debit_state(event, given_back)
    return found


def _columns(pairs: list[tuple[str, str]]) -> tuple[bytes, bytes]:
    return text_array([first for first, _ in pairs]), text_array([second for _, second in pairs])


def _job(row: Any) -> Job:
    return Job(
        owner=row[0],
        generation_id=row[1],
        model=row[2],
        status=GenerationStatus(row[3]),
        created_at=row[4],
        due_at=row[5],
        deadline=row[6],
        epoch=row[7],
        fence=row[8],
        lease_until=row[9],
        to_fetch=row[10],
        unreported=row[11],
        is_hinted=row[12],
        worker=row[13],
        fetches=row[14],
        priority=JobPriority(row[15]),
        flags=row[16],
    )
