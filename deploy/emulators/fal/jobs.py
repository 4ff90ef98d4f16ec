"""The queue and the life of a job: IN_QUEUE → IN_PROGRESS → COMPLETED, kept in SQLite.

Time is an argument (epoch seconds), and the state moves only in `JobQueue.advance`, which every
request calls first. So nobody ever reads a state that is out of date, a restart (or a leap of a
virtual clock) catches up on whatever fell due meanwhile, and an instant job completes within its
submit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from deploy.emulators.fal import inputs, models
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.database import transaction
from deploy.emulators.fal.prices import price_of
from deploy.emulators.fal.records import (
    JSON_COLUMNS,
    NEVER,
    Job,
    Submission,
    falls_back,
    first_wait_until,
    is_withdrawn,
    job_of,
    listens_to_cancels,
    outcome_of,
    webhook_due_at,
)
from deploy.emulators.fal.settings import Settings

CANCEL_SECONDS = 0.1
"""How long a runner takes to notice that its job was cancelled."""


_UNREAD: Final = "request_id IN (SELECT request_id FROM unread_inputs)"


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
        self.assumptions = settings.assumptions
        """What is done where fal's documentation is silent."""
        self._price_older_jobs()
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
            "wait_until": first_wait_until(submission),
            "is_rendered": self._settings.render,
            "input_faults": self._inline_faults(submission),
        }
        record |= {name: msgspec.json.encode(record[name]).decode() for name in JSON_COLUMNS}
        columns, marks = ", ".join(record), ", ".join(f":{name}" for name in record)
        with transaction(self._db):
            insert = f"INSERT INTO jobs ({columns}) VALUES ({marks})"  # noqa: S608
            self._db.execute(insert, record)
            if webhook_url is not None:
                # Owed from the start, due once the job has completed: see `_complete`.
                self._db.execute(
                    "INSERT INTO deliveries (request_id, url, state, due_at)"
                    " VALUES (?, ?, 'pending', ?)",
                    (record["request_id"], webhook_url, NEVER),
                )
            if inputs.to_fetch(submission.input, self._settings.fetch_inputs):
                self._db.execute("INSERT INTO unread_inputs VALUES (?)", (record["request_id"],))
        self.changed.set()
        self.advance(now)
        return self.get(record["request_id"])

    def _price_older_jobs(self) -> None:
        """Successes of an emulator that did not write down what they cost."""
        unpriced = "status = 'COMPLETED' AND error_type IS NULL AND billable_units = 0"
        for job in self._select(unpriced):
            self._db.execute(
                "UPDATE jobs SET billable_units = ? WHERE seq = ?",
                (models.billable_units(job.endpoint, job.input), job.seq),
            )

    def _inline_faults(self, submission: Submission) -> list[dict[str, Any]]:
        skipped = self._settings.fetch_inputs == "none"
        return [] if skipped else inputs.inline_faults(submission.input)

    def unread(self, limit: int) -> list[Job]:
        """Jobs whose input files are still to be fetched, the oldest first."""
        return self._select(f"{_UNREAD} ORDER BY seq LIMIT ?", limit)

    def note_inputs(self, request_id: str, faults: list[dict[str, Any]], now: float) -> None:
        """What came of fetching a job's files: with faults it ends, without any it may."""
        with transaction(self._db):
            self._db.execute("DELETE FROM unread_inputs WHERE request_id = ?", (request_id,))
            for job in self._select("request_id = ? AND status != 'COMPLETED'", request_id):
                self._db.execute(
                    "UPDATE jobs SET input_faults = ?, ends_at = CASE WHEN status = 'IN_QUEUE'"
                    " THEN NULL WHEN ? THEN ? ELSE max(ends_at, ?) END WHERE seq = ?",
                    (
                        msgspec.json.encode(job.input_faults + faults).decode(),
                        *(bool(faults), now, now, job.seq),
                    ),
                )
        self.changed.set()

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
            "  AND request_id NOT IN (SELECT request_id FROM unread_inputs)"
            " UNION ALL SELECT min(start_by) FROM jobs WHERE status = 'IN_QUEUE'"
            " UNION ALL SELECT min(wait_until) FROM jobs"
            "  WHERE status = 'IN_QUEUE' AND wait_until < 9e999)"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def _complete_due(self, now: float) -> int:
        due = self._select(
            f"status = 'IN_PROGRESS' AND ends_at <= ? AND NOT {_UNREAD} ORDER BY ends_at", now
        ) + self._select("status = 'IN_QUEUE' AND start_by <= ?", now)
        if due:
            with transaction(self._db):
                for job in due:
                    if falls_back(job):
                        self._requeue(job, now)
                    else:
                        self._complete(job, outcome_of(job, self.assumptions), now)
        return len(due)

    def _requeue(self, job: Job, now: float) -> None:
        """Put a running job back, as fal does when a runner dies: a new attempt of its own."""
        self._db.execute(
            "UPDATE jobs SET status = 'IN_QUEUE', gateway_request_id = ?, requeues = requeues + 1,"
            " wait_until = ?, start_by = NULL, started_at = NULL, ends_at = NULL WHERE seq = ?",
            (str(uuid4()), now + job.directives.number("regress", 0), job.seq),
        )

    def _complete(self, job: Job, error_type: str | None, now: float) -> None:
        units = self._cost_units(job, error_type)
        self._db.execute(
            "UPDATE jobs SET status = 'COMPLETED', error_type = ?, ended_at = ?, ends_at = NULL,"
            " billable_units = ? WHERE seq = ?",
            (error_type, now, units, job.seq),
        )
        self._accounts.charge(job.owner, units * price_of(job.endpoint).micros)
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
            (webhook_due_at(job, now), job.request_id),
        )

    def _cost_units(self, job: Job, error_type: str | None) -> int:
        """What the customer pays for: a success, and failures where fal is assumed to bill them."""
        billed: set[str | None] = {None}
        if self.assumptions.refusal_billing == "full":
            billed.add("content_policy_violation")
        if self.assumptions.cancel_billing == "full" and job.started_at is not None:
            billed.add("client_cancelled")
        return models.billable_units(job.endpoint, job.input) if error_type in billed else 0

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
        if job.faults:
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
        listens = listens_to_cancels(job, self.assumptions)
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
        if self.is_gone(job):
            return None
        return job if now < job.ended_at + self._life_seconds(job) else None

    def is_gone(self, job: Job) -> bool:
        """Whether a cancel in the queue has left nothing of a job."""
        return self.assumptions.queued_cancel == "gone" and is_withdrawn(job)

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
        self,
        owner: str,
        endpoints: list[str],
        span: tuple[float, float],
        page: tuple[int, int],
        tags: Mapping[str, str],
    ) -> list[Job]:
        """One key's submits to some endpoints within span = [start, end) that bear these tags,
        newest first; page = limit, offset."""
        marks = ", ".join("?" for _ in endpoints)
        tag = " AND EXISTS (SELECT 1 FROM json_each(tags) WHERE key = ? AND value = ?)"
        tagged = tag * len(tags)
        wanted = [part for pair in tags.items() for part in pair]
        return self._select(
            f"owner = ? AND endpoint IN ({marks}) AND submitted_at >= ? AND submitted_at < ?"
            f"{tagged} ORDER BY seq DESC LIMIT ? OFFSET ?",
            *(owner, *endpoints, *span, *wanted, *page),
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
            for table in ("jobs", "submits", "refusals", "deliveries", "unread_inputs"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
        self._accounts.reset()

    def _select(self, where: str, *values: Any) -> list[Job]:
        # `where` is always a literal of this class; what comes from outside is a value.
        rows = self._db.execute(f"SELECT * FROM jobs WHERE {where}", values)  # noqa: S608
        return [job_of(row) for row in rows]

    def _count(self, where: str, *values: Any) -> int:
        query = f"SELECT count(*) FROM jobs WHERE {where}"  # noqa: S608
        return int(self._db.execute(query, values).fetchone()[0])
