"""The writer's connections to tables in memory, with everything that befalls a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, Protocol

from ledger_service.domain.account.state import Lot
from ledger_service.domain.events import decode
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted, LotDerived
from ledger_service.domain.events.holds import HoldCaptured
from ledger_service.domain.ids import version_in
from ledger_service.domain.world import DebitState, GrantFacts, HoldState, LotKey, debit_state
from ledger_service.errors import Contention
from ledger_service.store.columns import LOG, Reliance, Writes
from ledger_service.store.heads import decode_hold, decode_lot
from ledger_service.store.wanted import KeyRow, Loaded, Looked, Verdict, Wanted, WantedLook
from ledger_service.store.writing import ConnectionLost, DatabaseUnfit, WritingConnection
from tests.simulation.faults import Faults
from tests.simulation.tables import EventRow, Place, Tables

CLOCK_SET_BACK: Final = timedelta(seconds=3)
LOCK_WAIT_SECONDS: Final = 1.0
QUICK: Final = (0.0005, 0.004)
SLOW: Final = (3.0, 6.0)
ASIDE: Final = (0.01, 0.08)
BEHIND: Final = timedelta(seconds=2)
AHEAD: Final = timedelta(milliseconds=50)


class Owner(Protocol):
    """The process that a connection belongs to."""

    def die(self) -> None:
        """`kill -9`, here and now."""


class Server:
    """The database: tables and their locks, the time that it takes, and what goes wrong in it."""

    def __init__(
        self, tables: Tables, faults: Faults, chance: Random, committed: Callable[[], None]
    ) -> None:
        self.tables = tables
        self.faults = faults
        self.committed = committed
        self.never = asyncio.Event()
        self._chance = chance

    async def work(self, seconds: tuple[float, float] = QUICK) -> None:
        """Take a moment."""
        await asyncio.sleep(self._chance.uniform(*seconds))

    def is_likely(self) -> bool:
        """One way or the other."""
        return self._chance.random() < 0.5

    def clock(self) -> datetime:
        """Its clock, which somebody may have set back."""
        back = CLOCK_SET_BACK if self.faults.strikes("clock_set_back") else timedelta()
        return self.tables.now() - back

    async def lock(self, places: list[Place], holder: object) -> None:
        """All of them at once, as soon as nobody else has any. Raises `Contention`."""
        waited = 0.0
        while any(self.tables.locked.get(place, holder) is not holder for place in places):
            if waited >= LOCK_WAIT_SECONDS:
                raise Contention("lock_timeout")
            await asyncio.sleep(0.01)
            waited += 0.01
        self.tables.locked.update(dict.fromkeys(places, holder))

    def unlock(self, holder: object) -> None:
        """The end of a transaction."""
        locked = self.tables.locked
        for place in [place for place, by in locked.items() if by is holder]:
            del locked[place]


class MemoryConnection(WritingConnection):
    """One connection. What is sent on it is done in its order, each after the one before it."""

    def __init__(self, server: Server, owner: Owner) -> None:
        self._server = server
        self._tables = server.tables
        self._faults = server.faults
        self._owner = owner
        self._is_lost = False
        self._is_dead = False
        self._batch = 0
        self._last: asyncio.Event | None = None
        self._zombies: set[asyncio.Task[Any]] = set()

    @property
    def is_lost(self) -> bool:
        """Broken, by whomever."""
        return self._is_lost

    def close(self) -> None:
        """The server rolls back what was open."""
        self._is_lost = True
        self._server.unlock(self)

    def die(self) -> None:
        """Its process is gone: nobody will hear anything from it any more."""
        self._is_dead = True
        self.close()

    # Without locks.

    def append(self, writes: Writes, relies_on: Reliance) -> Awaitable[Verdict]:
        """In its turn."""
        before, done = self._last, asyncio.Event()
        self._last = done
        return self._in_turn(before, done, writes, relies_on)

    async def _in_turn(
        self, before: asyncio.Event | None, done: asyncio.Event, writes: Writes, by: Reliance
    ) -> Verdict:
        if before is not None:
            await before.wait()
        try:
            if self._is_lost:  # it had been sent: the server may not know yet that we are gone
                if self._server.is_likely():
                    work = self._append(object(), writes, by)
                    task = asyncio.get_running_loop().create_task(work)
                    self._zombies.add(task)
                    task.add_done_callback(lambda task: task.exception())
                raise ConnectionLost("append", commit_sent=True)
            await self._server.work(SLOW if self._faults.strikes("slow_commit") else QUICK)
            await self._before_commit()
            verdict = await self._append(self, writes, by)
            self._faults.fired[f"append_{verdict.outcome}"] += 1
            if verdict.outcome == "appended":
                await self._after_commit()
            return verdict
        finally:
            self._server.unlock(self)
            done.set()

    async def _append(self, holder: object, writes: Writes, by: Reliance) -> Verdict:
        """As `append_v2` does it."""
        tables, heads = self._tables, writes.heads
        clock = self._server.clock()
        if by.after is not None and by.after != self._batch:
            return Verdict(outcome="behind", base=0, now=clock)
        if not clock - BEHIND <= by.now <= clock + AHEAD:
            return Verdict(outcome="clock", base=0, now=clock)
        places = list(zip(heads.owner, heads.stream, strict=True))
        await self._server.lock([place for place in places if place in tables.heads], holder)
        try:
            if outcome := self._objection(writes, by):
                return Verdict(outcome=outcome, base=0, now=clock)
            base = tables.append(writes)
        finally:
            self._server.unlock(holder)
        self._batch = by.number
        self._server.committed()
        return Verdict(outcome="appended", base=base, now=clock)

    def _objection(self, writes: Writes, by: Reliance) -> str | None:
        """What was relied on and is not so."""
        tables, heads, seen, keys = self._tables, writes.heads, by.seen, by.keys
        for owner, stream, before in zip(heads.owner, heads.stream, heads.before, strict=True):
            if before and tables.version_of((owner, stream)) != before:
                return "stale"
        for owner, stream, version in zip(seen.owner, seen.stream, seen.version, strict=True):
            if tables.version_of((owner, stream)) != version:
                return "stale"
        for owner, wrapped in zip(by.subjects.owner, by.subjects.wrapped_key, strict=True):
            if tables.subject_keys.get(owner) != wrapped:
                return "stale"
        used = zip(keys.owner, keys.key_space, keys.key_digest, strict=True)
        return "used" if any(key in tables.by_key for key in used) else None

    async def look(self, wanted: WantedLook) -> Looked:
        """In its turn, each table as it is just then."""
        before, done = self._last, asyncio.Event()
        self._last = done
        try:
            if before is not None:
                await before.wait()
            await self._look_begins()
            tables = self._tables
            heads = [tables.heads[p].head for p in wanted.streams if p in tables.heads]
            now = self._server.clock()
            await self._server.work()
            looked = Looked(
                now=now,
                heads=heads,
                holds=await self.load_holds(wanted.holds),
                debits=await self.load_debits(wanted.debits),
                subject_keys={
                    owner: tables.subject_keys[owner]
                    for owner in wanted.subjects
                    if owner in tables.subject_keys
                },
            )
            await self._server.work()
            await self._hang_if_dead()
            return looked
        finally:
            done.set()

    async def _look_begins(self) -> None:
        await self._server.work()
        await self._hang_if_dead()
        if self._is_lost or self._faults.strikes("connection_lost"):
            self.close()
            raise ConnectionLost("look", commit_sent=False)

    # Under locks.

    async def begin(self, wanted: Wanted) -> Loaded:
        """Lock the heads that exist, then read."""
        await self._server.work(SLOW if self._faults.strikes("slow_commit") else QUICK)
        await self._hang_if_dead()
        if self._is_lost or self._faults.strikes("connection_lost"):
            self.close()
            raise ConnectionLost("begin", commit_sent=False)
        if self._faults.strikes("database_unfit"):
            raise DatabaseUnfit("read-only")
        tables = self._tables
        assert self not in tables.locked.values(), "a transaction was left open"
        locks = [place for place in wanted.streams if place in tables.heads]
        await self._server.lock(locks, self)
        if self._is_dead:
            self._server.unlock(self)  # the server finds that out when it answers
        await self._hang_if_dead()
        policies = [(owner, owner) for owner in wanted.policies]
        loaded = Loaded(
            now=self._server.clock(),
            heads=[tables.heads[place].head for place in locks],
            keys=[_key_row(tables.by_key[key]) for key in wanted.keys if key in tables.by_key],
            jobs=[tables.jobs[place].job for place in wanted.jobs if place in tables.jobs],
            subject_keys={
                owner: tables.subject_keys[owner]
                for owner in wanted.subjects
                if owner in tables.subject_keys
            },
            policies=[tables.heads[place].head for place in policies if place in tables.heads],
        )
        await self._server.work()
        await self._hang_if_dead()
        return loaded

    async def load_debits(self, wanted: Iterable[tuple[str, str]]) -> dict[str, DebitState | None]:
        """By the event that an id locates."""
        found: dict[str, DebitState | None] = {}
        for owner, debit_id in wanted:
            found[debit_id] = None
            event = self._located("dbt", owner, debit_id)
            if isinstance(event, CreditsDebited | HoldCaptured) and event.debit_id == debit_id:
                row = self._tables.debit_refunds.get((owner, debit_id))
                found[debit_id] = debit_state(event, row["given_back"] if row else None)
        return found

    async def load_grants(self, wanted: Iterable[LotKey]) -> dict[LotKey, GrantFacts | None]:
        """By the event that an id locates."""
        found: dict[LotKey, GrantFacts | None] = {}
        for owner, grant_id in wanted:
            found[owner, grant_id] = None
            event = self._located("grt", owner, grant_id)
            if isinstance(event, CreditsGranted | LotDerived) and event.grant_id == grant_id:
                version = version_in("grt", grant_id, owner) or 0
                at = self._tables.by_place[owner, owner, version].recorded_at
                found[owner, grant_id] = GrantFacts(event=event, created_at=at)
        return found

    async def load_derived(self, wanted: Iterable[LotKey]) -> dict[LotKey, tuple[LotKey, ...]]:
        """By the rows' origins."""
        rows = self._tables.lots
        return {
            key: tuple(p for p, row in rows.items() if (row["origin_owner"], row["origin"]) == key)
            for key in wanted
        }

    async def load_holds(self, wanted: Iterable[tuple[str, str]]) -> dict[str, HoldState | None]:
        """Open or not."""
        rows = self._tables.holds
        return {
            place[1]: decode_hold(rows[place]["state"].encode()) if place in rows else None
            for place in wanted
        }

    async def load_open_holds(self, owner: str, reference: str, most: int) -> dict[str, HoldState]:
        """The oldest first."""
        found = {
            place[1]: decode_hold(row["state"].encode())
            for place, row in sorted(self._tables.holds.items())
            if (place[0], row["reference"], row["status"]) == (owner, reference, "open")
        }
        return dict(list(found.items())[:most])

    async def load_in_flight(self, owner: str) -> frozenset[str]:
        """Those that are still looked at."""
        rows = self._tables.jobs.items()
        return frozenset(p[1] for p, row in rows if p[0] == owner and row.job.due_at is not None)

    async def count_crowd(self, tenant: str, most: int) -> int:
        """Those that are still looked at."""
        return min(self._tables.crowd_of(tenant), most)

    async def load_begun(self, whose: str, day: str) -> int:
        """Those of an account, by their rows; those of a tenant, as they were counted."""
        if "/" not in whose:
            return self._tables.tenant_days[whose, day]
        jobs = [row.job for row in self._tables.jobs.values() if row.job.owner == whose]
        return sum(job.begun_on == day for job in jobs)

    async def load_lots(self, wanted: Iterable[tuple[str, str]]) -> dict[str, list[Lot]]:
        """Rows by their key."""
        return self._lots_at([place for place in wanted if place in self._tables.lots])

    async def load_lots_beyond(self, owners: list[str]) -> dict[str, list[Lot]]:
        """Rows that overflowed the head."""
        rows = self._tables.lots
        return self._lots_at(
            [p for p, row in rows.items() if p[0] in owners and row["place"] == "o"]
        )

    async def commit(self, writes: Writes) -> int:
        """Append; or be struck just before, or just after."""
        try:
            await self._server.work()
            await self._before_commit()
            base = self._tables.append(writes)
            self._server.unlock(self)
            self._server.committed()
            await self._after_commit()
            return base
        finally:
            self._server.unlock(self)

    async def end(self) -> None:
        """Nothing was written."""
        self._server.unlock(self)

    async def rollback(self) -> None:
        """Give the locks back."""
        self._server.unlock(self)

    # What befalls it.

    async def _before_commit(self) -> None:
        faults = self._faults
        if faults.strikes("other_writer_first"):
            await self._server.work(ASIDE)
        if faults.strikes("killed_before_commit"):
            self._owner.die()
        await self._hang_if_dead()
        if faults.strikes("commit_lost"):
            self.close()
            raise ConnectionLost("commit", commit_sent=True)
        if faults.strikes("contention"):
            raise Contention("deadlock")

    async def _after_commit(self) -> None:
        if self._faults.strikes("killed_after_commit"):
            self._owner.die()
        await self._hang_if_dead()
        if self._faults.strikes("answer_lost"):
            self.close()
            raise ConnectionLost("commit", commit_sent=True)
        await self._server.work()
        await self._hang_if_dead()

    async def _hang_if_dead(self) -> None:
        """The dead do not go on; what they held was given back."""
        if self._is_dead:
            await self._server.never.wait()

    def _lots_at(self, places: list[Place]) -> dict[str, list[Lot]]:
        lots: dict[str, list[Lot]] = {}
        for place in places:
            lot = decode_lot(self._tables.lots[place]["state"].encode())
            lots.setdefault(place[0], []).append(lot)
        return lots

    def _located(self, prefix: str, owner: str, text: str) -> Any:
        version = version_in(prefix, text, owner)
        row = self._tables.by_place.get((owner, owner, version or 0))
        return decode(row.topic, row.state) if row else None


def _key_row(row: EventRow) -> KeyRow:
    assert row.key_space is not None
    assert row.key_digest is not None
    return KeyRow(
        log=LOG,
        position=row.position,
        owner=row.owner,
        stream=row.stream,
        version=row.version,
        topic=row.topic,
        state=row.state,
        recorded_at=row.recorded_at,
        actor=row.actor,
        fingerprint=row.fingerprint,
        trace_id=row.trace_id,
        key_space=row.key_space,
        key_digest=row.key_digest,
    )
