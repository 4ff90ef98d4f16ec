"""The ledger's tables in memory, with the constraints of the migrations: rows in, rows out.

A commit is checked as a whole and then applied as a whole. Nothing here knows what rows mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from contracts.api.generations import GenerationStatus
from contracts.jobs import JobPriority
from ledger_service.domain.generation.state import LOW_WAITS_MAX, Job
from ledger_service.errors import Contention
from ledger_service.store.columns import EventColumns, HeadColumns, Writes
from ledger_service.store.heads import SNAPSHOT_VERSION
from ledger_service.store.statements import load_statements
from ledger_service.store.wanted import Head
from ledger_service.store.writing import StoreRefused

Place = tuple[str, str]
"""(owner, stream) or (owner, id): the primary key of most tables."""

_CLOCKWORK: Final = load_statements("clockwork")
_RING_AFTER: Final = timedelta(seconds=2)
_ACTIVITY: Final = timedelta(seconds=30)


class EventRow(NamedTuple):
    """A row of `events`."""

    position: int
    owner: str
    stream: str
    version: int
    topic: str
    state: bytes
    actor: str | None
    key_space: str | None
    key_digest: bytes | None
    fingerprint: bytes | None
    trace_id: str | None
    recorded_at: datetime
    last: bool


class HeadRow(NamedTuple):
    """A row of `heads`."""

    head: Head
    posted: int
    held: int
    debt: int
    next_expiry_at: datetime | None


class JobRow(NamedTuple):
    """A row of `jobs`."""

    job: Job
    ring_at: datetime | None
    rings: int


class Tables:
    """All rows; `now` is the database's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.events: list[EventRow] = []
        self.by_place: dict[tuple[str, str, int], EventRow] = {}
        self.by_key: dict[tuple[str, str, bytes], EventRow] = {}
        self.heads: dict[Place, HeadRow] = {}
        self.lots: dict[Place, dict[str, Any]] = {}
        self.holds: dict[Place, dict[str, Any]] = {}
        self.debit_refunds: dict[Place, dict[str, Any]] = {}
        self.jobs: dict[Place, JobRow] = {}
        self.tenant_days: Counter[tuple[str, str]] = Counter()  # generations by tenant and day
        self.vault: dict[Place, bytes] = {}
        self.subject_keys: dict[str, bytes] = {}
        self.leader: tuple[str, int, datetime] | None = None
        self.last_claim_at: datetime | None = None
        self.locked: dict[Place, object] = {}

    # Writing.

    def append(self, writes: Writes) -> int:
        """All of a batch or, with `Contention` or `StoreRefused`, nothing of it."""
        base = len(self.events)
        new_events = self._new_events(base, writes.events)
        new_heads = self._new_heads(writes.heads)
        self._check_events(new_events)
        self._check_rows(writes.rows)
        self.put_rows(writes.rows)
        for place, row in new_heads.items():
            self.heads[place] = row
        self.put_events(new_events)
        return base

    def put_events(self, rows: list[EventRow]) -> None:
        """Into the log and its indexes."""
        for row in rows:
            self.events.append(row)
            self.by_place[row.owner, row.stream, row.version] = row
            if row.key_space is not None and row.key_digest is not None:
                self.by_key[row.owner, row.key_space, row.key_digest] = row

    def put_rows(self, rows: dict[str, Any]) -> None:
        """Everything beside the log."""
        for row in rows.get("subject_keys", ()):
            self.subject_keys[row["owner"]] = bytes.fromhex(row["wrapped_key"])
        for row in rows.get("vault", ()):
            self.vault[row["owner"], row["digest"]] = bytes.fromhex(row["ciphertext"])
        for row in rows.get("lots", ()):
            known = self.lots.get((row["owner"], row["grant_id"]), row)
            kept = {name: known[name] for name in ("origin_owner", "origin")}
            self.lots[row["owner"], row["grant_id"]] = row | kept
        for row in rows.get("holds", ()):
            self.holds[row["owner"], row["hold_id"]] = row
        for row in rows.get("debit_refunds", ()):
            self.debit_refunds[row["owner"], row["debit_id"]] = row
        for job in rows.get("jobs", ()):
            place, ring_at = (job.owner, job.generation_id), job.due_at
            if place not in self.jobs:
                ring_at = job.due_at + _RING_AFTER
            self.jobs[place] = JobRow(job, ring_at, 0)
        for row in rows.get("tenant_days", ()):
            self.tenant_days[row["tenant"], row["day"]] += row["begun"]

    def _new_events(self, base: int, events: EventColumns) -> list[EventRow]:
        columns = zip(
            events.owner, events.stream, events.version, events.topic, events.state, events.actor,
            events.key_space, events.key_digest, events.fingerprint, events.trace_id,
            events.recorded_at, events.last, strict=True,
        )  # fmt: skip
        rows = []
        for ordinal, (owner, stream, version, topic, state, *more) in enumerate(columns, 1):
            row = (base + ordinal, owner, stream, version, topic, state, *more)
            rows.append(EventRow._make(row))
        return rows

    def _new_heads(self, heads: HeadColumns) -> dict[Place, HeadRow]:
        found = {}
        for n, stream in enumerate(heads.stream):
            place = (heads.owner[n], stream)
            if not heads.before[n] and place in self.heads:
                raise Contention("heads_pkey")
            _check(heads.before[n] == self.version_of(place), "a head to update is missing")
            balances = (heads.posted[n], heads.held[n], heads.debt[n])
            _check(min(balances[1:]) >= 0 and heads.credit_limit[n] >= 0, "heads: below zero")
            head = Head(stream, heads.version[n], SNAPSHOT_VERSION, heads.snapshot[n])
            found[place] = HeadRow(head, *balances, heads.next_expiry_at[n])
        return found

    def _check_events(self, rows: list[EventRow]) -> None:
        places, keys = set(), set()
        for row in rows:
            place = (row.owner, row.stream, row.version)
            if place in self.by_place or place in places:
                raise Contention("events_pkey")
            places.add(place)
            _check(f"{row.stream}/".startswith(f"{row.owner}/"), "events_stream_of_owner")
            _check((row.key_space is None) == (row.key_digest is None), "events_whole_key")
            if row.key_space is not None and row.key_digest is not None:
                key = (row.owner, row.key_space, row.key_digest)
                if key in self.by_key or key in keys:
                    raise Contention("events_key")
                keys.add(key)

    def _check_rows(self, rows: dict[str, Any]) -> None:
        if any(row["owner"] in self.subject_keys for row in rows.get("subject_keys", ())):
            raise Contention("subject_keys_pkey")
        if any((row["owner"], row["digest"]) in self.vault for row in rows.get("vault", ())):
            raise Contention("vault_pkey")
        for row in rows.get("lots", ()):
            _check(row["place"] in ("h", "o", "l"), "lots_place")
        for row in rows.get("holds", ()):
            _check(row["status"] in ("open", "captured", "released", "expired"), "holds_status")
        for row in rows.get("debit_refunds", ()):
            _check(0 <= row["refunded"] <= row["amount"], "debit_refunds_total")
            pairs = list(zip(row["given_back"], row["taken"], strict=True))
            _check(all(0 <= given <= taken for given, taken in pairs), "debit_refunds_slices")
        for job in rows.get("jobs", ()):
            _check(job.due_at is not None or _is_final(job.status), "jobs_never_stuck")
        for row in rows.get("tenant_crowds", ()):
            if self.crowd_of(row["tenant"]) > row["most"]:
                raise Contention("tenant_crowds")
        days: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows.get("tenant_days", ()):
            days.setdefault((row["tenant"], row["day"]), []).append(row)
        for day, counted in days.items():
            begun = self.tenant_days[day] + sum(row["begun"] for row in counted)
            if begun > max(row["most"] for row in counted):
                raise Contention("tenant_days")

    # Reading, as the named statements do.

    def version_of(self, place: Place) -> int:
        """The version of a head; 0: there is none."""
        row = self.heads.get(place)
        return row.head.version if row else 0

    def crowd_of(self, tenant: str) -> int:
        """How many generations of a tenant have not ended."""
        rows = self.jobs.items()
        return sum(p[0].startswith(f"{tenant}/") and row.job.due_at is not None for p, row in rows)

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """The rows that a statement of the clockwork answers with."""
        answers: dict[str, Callable[..., list[Any]]] = {
            _CLOCKWORK["lead"]: self._lead,
            _CLOCKWORK["ring_due"]: self._ring_due,
            _CLOCKWORK["expiring"]: self.expiring,
            _CLOCKWORK["expiring_holds"]: self.expiring_holds,
            _CLOCKWORK["overdue"]: self.overdue,
        }
        return answers[sql](*values)

    def stored(self, statement: str) -> list[Any]:
        """The rows that a statement of the replay answers with."""
        answers: dict[str, Callable[[], list[Any]]] = {
            "heads": self._replayed_heads,
            "lots": self._replayed_lots,
            "holds": self._replayed_holds,
            "refunds": self._replayed_refunds,
        }
        return answers[statement]()

    def expiring(self, most: int) -> list[tuple[str]]:
        """Accounts on which something is to be booked."""
        due = [
            (row.next_expiry_at, owner)
            for (owner, _), row in self.heads.items()
            if row.next_expiry_at is not None and row.next_expiry_at <= self.now()
        ]
        return [(owner,) for _, owner in sorted(due)[:most]]

    def expiring_holds(self, most: int) -> list[Place]:
        """Open holds whose time is over."""
        due = [
            (row["expires_at"], place)
            for place, row in self.holds.items()
            if row["status"] == "open" and row["expires_at"] <= self.now()
        ]
        return [place for _, place in sorted(due)[:most]]

    def overdue(self, most: int) -> list[Place]:
        """Jobs past their deadline, unless no worker asks for work."""
        if self.last_claim_at is None or self.last_claim_at <= self.now() - _ACTIVITY:
            return []
        due = [
            (row.job.deadline, place)
            for place, row in self.jobs.items()
            if row.job.due_at is not None and row.job.deadline <= self.now()
        ]
        return [place for _, place in sorted(due)[:most]]

    def due_jobs(self, most: int) -> list[Place]:
        """Jobs that a worker may claim: those that may wait in the end, of both the longest due
        first."""
        due = [
            (self._waits(row.job), row.job.due_at, place)
            for place, row in self.jobs.items()
            if row.job.due_at is not None and row.job.due_at <= self.now()
        ]
        return [place for _, _, place in sorted(due)[:most]]

    def _waits(self, job: Job) -> bool:
        return _may_wait(job) and job.created_at > self.now() - LOW_WAITS_MAX

    def next_due_at(self) -> datetime | None:
        """When the clockwork has something to do next."""
        instants = [row.next_expiry_at for row in self.heads.values() if row.next_expiry_at]
        instants += [row["expires_at"] for row in self.holds.values() if row["status"] == "open"]
        for row in self.jobs.values():
            if row.job.due_at is not None:
                instants += [max(row.job.due_at, row.ring_at or row.job.due_at), row.job.deadline]
        return min(instants, default=None)

    def owner_of(self, generation_id: str) -> str | None:
        """Whose generation it is."""
        return next((owner for owner, found in self.jobs if found == generation_id), None)

    def _lead(self, _: str, holder: str, lease: timedelta) -> list[tuple[int]]:
        if self.leader is not None:
            name, epoch, until = self.leader
            if name != holder:
                if until >= self.now():
                    return []
                epoch += 1
            self.leader = (holder, epoch, self.now() + lease)
            return [(epoch,)]
        self.leader = (holder, 1, self.now() + lease)
        return [(1,)]

    def _ring_due(self, _: str, epoch: int, most: int, __: timedelta) -> list[tuple[str]]:
        now = self.now()
        rung: list[tuple[str]] = []
        if self.leader is None or self.leader[1] != epoch or self.leader[2] <= now:
            return []
        due = self.due_jobs(len(self.jobs))
        is_busy = any(not _may_wait(self.jobs[place].job) for place in due)
        for place in due:
            row = self.jobs[place]
            if row.ring_at is None or row.ring_at > now or len(rung) == most:
                continue
            if is_busy and self._waits(row.job):
                continue
            wait = timedelta(seconds=min(2 ** min(row.rings + 1, 6), 60))
            self.jobs[place] = row._replace(ring_at=now + wait, rings=row.rings + 1)
            rung.append((place[1],))
        return rung

    def _replayed_heads(self) -> list[Any]:
        return [
            (owner, stream, row.posted, row.held, row.debt, row.head.snapshot, SNAPSHOT_VERSION)
            for (owner, stream), row in self.heads.items()
        ]

    def _replayed_lots(self) -> list[Any]:
        names = ("owner", "grant_id", "place", "state", "origin_owner", "origin")
        return [
            tuple(row[name].encode() if name == "state" else row[name] for name in names)
            for row in self.lots.values()
        ]

    def _replayed_holds(self) -> list[Any]:
        return [(*place, row["state"].encode()) for place, row in self.holds.items()]

    def _replayed_refunds(self) -> list[Any]:
        return [(*place, row["refunded"]) for place, row in self.debit_refunds.items()]


def content_of(tables: Tables, owner: str, digest: str) -> dict[str, Any]:
    """What the vault keeps; here it is not encrypted."""
    stored: dict[str, Any] = msgspec.json.decode(tables.vault[owner, digest])
    return stored


def _may_wait(job: Job) -> bool:
    return (job.priority, job.status) == (JobPriority.LOW, GenerationStatus.REQUESTED)


def _is_final(status: GenerationStatus) -> bool:
    return GenerationStatus(status).is_final


def _check(holds: bool, constraint: str) -> None:
    if not holds:
        raise StoreRefused(constraint)
