"""The queue and the life of a job: IN_QUEUE → IN_PROGRESS → COMPLETED, kept in SQLite.

Time is an argument (epoch seconds), and the state moves only in `JobQueue.advance`, which every
request calls first. So nobody ever reads a state that is out of date, a restart (or a leap of a
virtual clock) catches up on whatever fell due meanwhile, and an instant job completes within its
submit.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable
from typing import Any, Literal
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from deploy.emulators.fal import directives, models
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.database import transaction
from deploy.emulators.fal.prices import price_of
from deploy.emulators.fal.settings import Settings

CANCEL_SECONDS = 0.1
"""How long a runner takes to notice that its job was cancelled."""
_NEVER = math.inf
_JSON_COLUMNS = ("input", "tags", "headers")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted submit, before it becomes a job."""

    owner: str
    endpoint: str
    app: str
    input: dict[str, Any]
    tags: dict[str, str]
    headers: dict[str, str]
    origin: str
    priority: int
    start_timeout_seconds: float | None
    webhook_url: str | None
    chaos: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted submit and what became of it; times in epoch seconds."""

    seq: int
    request_id: str
    gateway_request_id: str
    owner: str
    endpoint: str
    app: str
    input: dict[str, Any]
    tags: dict[str, str]
    headers: dict[str, str]
    origin: str
    priority: int
    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    error_type: str | None
    answered: bool
    cancel_requested: bool
    submitted_at: float
    start_by: float | None
    started_at: float | None
    ends_at: float | None
    ended_at: float | None
    chaos: str
    wait_until: float | None
    requeues: int
    payloads_deleted: bool

    @property
    def prompt(self) -> str:
        """The prompt, or an empty string where the model takes none."""
        prompt = self.input.get("prompt", "")
        return prompt if isinstance(prompt, str) else ""

    @property
    def directives(self) -> directives.Directives:
        """What the prompt, or chaos in its stead, asks this emulator to do wrong."""
        return directives.parse(self.prompt + self.chaos)

    @property
    def billable_units(self) -> int:
        """What the customer pays for: nothing before success, and nothing for a failure."""
        if self.status != "COMPLETED" or self.error_type is not None:
            return 0
        return models.billable_units(self.endpoint, self.input)

    @property
    def stores_io(self) -> bool:
        """False when the submit asked that its input and output are not kept."""
        return self.headers.get("x-fal-store-io") != "0"


class JobQueue:
    """All jobs of all keys, and the runners that work on them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        settings: Settings,
        clock: Clock,
        accounts: Accounts,
        life_seconds: Callable[[Job], float],
    ) -> None:
        self._db = connection
        self._settings = settings
        self._accounts = accounts
        self._life_seconds = life_seconds
        self.now = clock.now
        """The present, for those who pass it on to the methods below."""
        self.changed = asyncio.Event()
        """Set whenever something happened that may bring forward what is due next."""

    def submit(self, submission: Submission, now: float) -> Job:
        """Accept one more job. The same submission twice makes two jobs, as at fal."""
        record = msgspec.structs.asdict(submission)
        timeout_seconds = record.pop("start_timeout_seconds")
        webhook_url = record.pop("webhook_url")
        record |= {
            "request_id": str(uuid4()),
            "gateway_request_id": str(uuid4()),
            "status": "IN_QUEUE",
            "submitted_at": now,
            "start_by": None if timeout_seconds is None else now + timeout_seconds,
            "wait_until": _first_wait_until(submission),
        }
        record |= {name: msgspec.json.encode(record[name]).decode() for name in _JSON_COLUMNS}
        columns, marks = ", ".join(record), ", ".join(f":{name}" for name in record)
        with transaction(self._db):
            insert = f"INSERT INTO jobs ({columns}) VALUES ({marks})"  # noqa: S608
            self._db.execute(insert, record)
            if webhook_url is not None:
                # Owed from the start, due once the job has completed: see `_complete`.
                self._db.execute(
                    "INSERT INTO deliveries (request_id, url, state, due_at)"
                    " VALUES (?, ?, 'pending', ?)",
                    (record["request_id"], webhook_url, _NEVER),
                )
        self.changed.set()
        self.advance(now)
        return self.get(record["request_id"])

    def advance(self, now: float) -> None:
        """Do everything that is due, in the order in which it fell due."""
        while (at := self.next_change_at()) is not None and at <= now:
            self._complete_due(at)
            self._start_waiting(at)
            self.changed.set()
        # Runners may be free already: a job starts in the moment it is submitted.
        while self._start_waiting(now) + self._complete_due(now):
            self.changed.set()

    def next_change_at(self) -> float | None:
        """When `advance` will next have something to do, if nothing else happens."""
        row = self._db.execute(
            "SELECT min(at) FROM ("
            " SELECT min(ends_at) AS at FROM jobs WHERE status = 'IN_PROGRESS'"
            " UNION ALL SELECT min(start_by) FROM jobs WHERE status = 'IN_QUEUE'"
            " UNION ALL SELECT min(wait_until) FROM jobs"
            "  WHERE status = 'IN_QUEUE' AND wait_until < 9e999)"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def _complete_due(self, now: float) -> int:
        due = self._select(
            "status = 'IN_PROGRESS' AND ends_at <= ? ORDER BY ends_at", now
        ) + self._select("status = 'IN_QUEUE' AND start_by <= ?", now)
        if due:
            with transaction(self._db):
                for job in due:
                    if _falls_back(job):
                        self._requeue(job, now)
                    else:
                        self._complete(job, _outcome(job), now)
        return len(due)

    def _requeue(self, job: Job, now: float) -> None:
        """Put a running job back, as fal does when a runner dies: a new attempt of its own."""
        self._db.execute(
            "UPDATE jobs SET status = 'IN_QUEUE', gateway_request_id = ?, requeues = requeues + 1,"
            " wait_until = ?, start_by = NULL, started_at = NULL, ends_at = NULL WHERE seq = ?",
            (str(uuid4()), now + job.directives.number("regress", 0), job.seq),
        )

    def _complete(self, job: Job, error_type: str | None, now: float) -> None:
        self._db.execute(
            "UPDATE jobs SET status = 'COMPLETED', error_type = ?, ended_at = ?, ends_at = NULL"
            " WHERE seq = ?",
            (error_type, now, job.seq),
        )
        cost_units = self.get(job.request_id).billable_units
        self._accounts.charge(job.owner, cost_units * price_of(job.endpoint).micros)
        if "no-webhook" in job.directives:
            self._db.execute("DELETE FROM deliveries WHERE request_id = ?", (job.request_id,))
            return
        if "webhook-twice" in job.directives:
            self._db.execute(
                "INSERT INTO deliveries (request_id, url, state, due_at)"
                " SELECT request_id, url, state, due_at FROM deliveries WHERE request_id = ?",
                (job.request_id,),
            )
        self._db.execute(
            "UPDATE deliveries SET due_at = ? WHERE request_id = ?",
            (_webhook_due_at(job, now), job.request_id),
        )

    def _start_waiting(self, now: float) -> int:
        """Give each key's free runners its next jobs, `low` behind `normal`, else in order."""
        self._db.execute(
            "UPDATE jobs SET wait_until = NULL WHERE status = 'IN_QUEUE' AND wait_until <= ?",
            (now,),
        )
        ready = "status = 'IN_QUEUE' AND wait_until IS NULL"
        owners = self._db.execute(f"SELECT DISTINCT owner FROM jobs WHERE {ready}").fetchall()  # noqa: S608
        waiting: list[Job] = []
        for (owner,) in owners:
            waiting += self._select(
                f"{ready} AND owner = ? ORDER BY priority, seq LIMIT ?",
                *(owner, self._free_runners(owner)),
            )
        if waiting:
            with transaction(self._db):
                for job in waiting:
                    self._db.execute(
                        "UPDATE jobs SET status = 'IN_PROGRESS', started_at = ?, ends_at = ?"
                        " WHERE seq = ?",
                        (now, self._ends_at(job, now), job.seq),
                    )
        return len(waiting)

    def has_free_runner(self, owner: str) -> bool:
        """Whether a job of this key would start at once."""
        return self._free_runners(owner) > 0

    def _free_runners(self, owner: str) -> int:
        running = self._count("status = 'IN_PROGRESS' AND owner = ?", owner)
        return max(0, self._settings.concurrency - running)

    def _ends_at(self, job: Job, now: float) -> float | None:
        if models.violations(job.endpoint, job.input):
            return now
        if "stuck" in job.directives:
            return None
        return now + job.directives.number("slow", self._settings.job_seconds)

    def cancel(self, job: Job, now: float) -> bool:
        """Ask a job to stop; False when it has completed already.

        A waiting job leaves the queue at once. A running one is merely told so: an ordinary model
        does not listen and finishes with a real result, which is what fal's documentation warns of.
        """
        if job.status == "COMPLETED":
            self._release_webhook(job, now)
            return False
        listens = "stuck" in job.directives or "cooperative" in job.directives
        with transaction(self._db):
            self._db.execute("UPDATE jobs SET cancel_requested = 1 WHERE seq = ?", (job.seq,))
            if job.status == "IN_QUEUE":
                self._complete(replace(job, cancel_requested=True), "client_cancelled", now)
            elif listens and not job.cancel_requested:
                self._db.execute(
                    "UPDATE jobs SET ends_at = ? WHERE seq = ?", (now + CANCEL_SECONDS, job.seq)
                )
        self.changed.set()
        return True

    def _release_webhook(self, job: Job, now: float) -> None:
        """What waited for a cancel waits no longer."""
        if "webhook-after-cancel" in job.directives and not job.cancel_requested:
            with transaction(self._db):
                self._db.execute("UPDATE jobs SET cancel_requested = 1 WHERE seq = ?", (job.seq,))
                self._db.execute(
                    "UPDATE deliveries SET due_at = ? WHERE request_id = ?", (now, job.request_id)
                )
            self.changed.set()

    def get(self, request_id: str) -> Job:
        """A job that is known to exist."""
        return self._select("request_id = ?", request_id)[0]

    def find(self, request_id: str, now: float) -> Job | None:
        """A job whose status and result may still be read; None once they have expired."""
        job = self.peek(request_id)
        if job is None or job.ended_at is None:
            return job
        return job if now < job.ended_at + self._life_seconds(job) else None

    def peek(self, request_id: str) -> Job | None:
        """A job however old it is: media outlives the result."""
        return next(iter(self._select("request_id = ?", request_id)), None)

    def waiting(self, endpoint: str) -> int:
        """How many jobs of one endpoint are in the queue."""
        return self._count("status = 'IN_QUEUE' AND endpoint = ?", endpoint)

    def position(self, job: Job) -> int:
        """How many jobs are ahead in its endpoint's queue; 0 for one that has left it."""
        if job.status != "IN_QUEUE":
            return 0
        ahead = "status = 'IN_QUEUE' AND endpoint = ? AND (priority, seq) < (?, ?)"
        return self._count(ahead, job.endpoint, job.priority, job.seq)

    def newest(self, limit: int) -> list[Job]:
        """The latest submits of all keys, newest first."""
        return self._select("true ORDER BY seq DESC LIMIT ?", limit)

    def by_endpoint(
        self, owner: str, endpoints: list[str], span: tuple[float, float], limit: int, offset: int
    ) -> list[Job]:
        """One key's submits to some endpoints within span = [start, end), newest first."""
        marks = ", ".join("?" for _ in endpoints)
        return self._select(
            f"owner = ? AND endpoint IN ({marks}) AND submitted_at >= ? AND submitted_at < ?"
            " ORDER BY seq DESC LIMIT ? OFFSET ?",
            *(owner, *endpoints, *span, limit, offset),
        )

    def billed(self, owner: str, span: tuple[float, float], endpoints: list[str]) -> list[Job]:
        """What one key pays for and has ended within span = [start, end), the oldest first; of all
        endpoints where none is named."""
        marks = ", ".join("?" for _ in endpoints)
        among = f" AND endpoint IN ({marks})" if endpoints else ""
        found = self._select(
            "status = 'COMPLETED' AND owner = ? AND ended_at >= ? AND ended_at < ?"
            f"{among} ORDER BY ended_at",
            *(owner, *span, *endpoints),
        )
        return [job for job in found if job.billable_units]

    def mark_answered(self, request_id: str) -> None:
        """Note that the whole answer to a submit was handed to the network."""
        self._db.execute("UPDATE jobs SET answered = 1 WHERE request_id = ?", (request_id,))

    def delete_payloads(self, job: Job) -> None:
        """Forget input, output and media of a job; that it was, and what it cost, stays known."""
        self._db.execute("UPDATE jobs SET payloads_deleted = 1 WHERE seq = ?", (job.seq,))

    def withholds(self, job: Job, name: str) -> bool:
        """Whether a directive that strikes ``=COUNT`` times (1) strikes once more."""
        asked = job.directives
        return name in asked and self.refuse(f"{job.request_id} {name}", asked.number(name, 1))

    def refuse(self, fingerprint: str, times: float) -> bool:
        """Whether to refuse this once more, of `times` in all; remembers that it did."""
        row = self._db.execute(
            "INSERT INTO refusals VALUES (?, 1)"
            " ON CONFLICT (fingerprint) DO UPDATE SET times = times + 1 RETURNING times",
            (fingerprint,),
        ).fetchone()
        return bool(row[0] <= times)

    def reset(self) -> None:
        """Forget every job, submit, refusal and webhook, and what was spent."""
        with transaction(self._db):
            for table in ("jobs", "submits", "refusals", "deliveries"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
        self._accounts.reset()

    def _select(self, where: str, *values: Any) -> list[Job]:
        # `where` is always a literal of this class; what comes from outside is a value.
        rows = self._db.execute(f"SELECT * FROM jobs WHERE {where}", values)  # noqa: S608
        return [_job(row) for row in rows]

    def _count(self, where: str, *values: Any) -> int:
        query = f"SELECT count(*) FROM jobs WHERE {where}"  # noqa: S608
        return int(self._db.execute(query, values).fetchone()[0])


def _first_wait_until(submission: Submission) -> float | None:
    """When a new job may start: at once, or never where it is to be stuck in the queue."""
    prompt = submission.input.get("prompt", "")
    asked = directives.parse((prompt if isinstance(prompt, str) else "") + submission.chaos)
    return float("inf") if "stuck-in-queue" in asked else None


def _falls_back(job: Job) -> bool:
    return job.status == "IN_PROGRESS" and "regress" in job.directives and job.requeues == 0


def _outcome(job: Job) -> str | None:
    """The error type a job ends with, decided when it ends; None is success."""
    if job.status == "IN_QUEUE":
        return "request_timeout"
    if models.violations(job.endpoint, job.input):
        return "invalid_input"
    if job.cancel_requested and ("stuck" in job.directives or "cooperative" in job.directives):
        return "client_cancelled"
    return job.directives.failure()


def _webhook_due_at(job: Job, now: float) -> float:
    """When the webhook of a job is due that completes now."""
    if "webhook-after-cancel" in job.directives and not job.cancel_requested:
        return _NEVER
    return now + job.directives.number("webhook-late", 0)


def _job(row: sqlite3.Row) -> Job:
    fields = {name: row[name] for name in Job.__struct_fields__}
    fields |= {name: msgspec.json.decode(row[name]) for name in _JSON_COLUMNS}
    flags = ("answered", "cancel_requested", "payloads_deleted")
    fields |= {name: bool(row[name]) for name in flags}
    return Job(**fields)
