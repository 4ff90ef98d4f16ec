"""Webhooks: signed as fal signs them, delivered at least once, with a pause that doubles.

Redirects are final failures, and private targets are dropped unsent, as at fal. What a delivery
says and how it is signed: `sealing.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sqlite3
import time
from functools import partial
from typing import Any, Final

import httpx
import msgspec

from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.records import Job
from deploy.emulators.fal.sealing import Signer, sealed
from deploy.emulators.fal.settings import Settings

MAX_TRIES: Final = 31
MAX_PAUSE_SECONDS: Final = 600.0
FIRST_TIMEOUT_SECONDS: Final = 15.0
LATER_TIMEOUT_SECONDS: Final = 120.0
_MAX_IN_FLIGHT: Final = 16


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook that is owed."""

    seq: int
    request_id: str
    url: str
    tries: int
    due_at: float


class Courier:
    """Delivers what is due; `run_due` is called whenever something may be."""

    def __init__(
        self, connection: sqlite3.Connection, settings: Settings, queue: JobQueue, signer: Signer
    ) -> None:
        self._db = connection
        self._settings = settings
        self._queue = queue
        self._signer = signer
        self._client = httpx.AsyncClient(follow_redirects=False, trust_env=False)
        self._in_flight: dict[int, asyncio.Task[None]] = {}

    def next_due_at(self) -> float | None:
        """When the next delivery is due that nobody is working on yet."""
        if len(self._in_flight) >= _MAX_IN_FLIGHT:
            return None
        waiting = self._waiting(float("inf"))
        return waiting[0].due_at if waiting else None

    def run_due(self, now: float, done: asyncio.Event) -> None:
        """Start every delivery that is due, within bounds; `done` is set as each one ends."""
        free = _MAX_IN_FLIGHT - len(self._in_flight)
        for delivery in self._waiting(now)[:free]:
            task = asyncio.create_task(self._attempt(delivery))
            self._in_flight[delivery.seq] = task
            task.add_done_callback(partial(self._ended, delivery.seq, done))

    def _waiting(self, now: float) -> list[Delivery]:
        """What is due by `now` and not in flight, the soonest first; a bounded look ahead."""
        rows = self._db.execute(
            "SELECT seq, request_id, url, tries, due_at FROM deliveries"
            " WHERE state = 'pending' AND due_at <= ? ORDER BY due_at LIMIT ?",
            (now, 2 * _MAX_IN_FLIGHT),
        )
        deliveries = [Delivery(**dict(row)) for row in rows]
        return [delivery for delivery in deliveries if delivery.seq not in self._in_flight]

    def _ended(self, seq: int, done: asyncio.Event, task: asyncio.Task[None]) -> None:
        del self._in_flight[seq]
        done.set()
        if not task.cancelled():
            task.result()  # raises what a bug raised, for the loop's log

    async def _attempt(self, delivery: Delivery) -> None:
        job = self._queue.find(delivery.request_id, self._queue.now())
        if job is None:
            return self._settle(delivery, "failed", "the result has expired")
        if not await self._may_reach(delivery.url):
            return self._settle(delivery, "dropped", "the target is not a public address")
        state, answer = await self._send(delivery, job)
        if state == "pending" and delivery.tries + 1 >= MAX_TRIES:
            state = "failed"
        self._settle(delivery, state, answer)

    async def _send(self, delivery: Delivery, job: Job) -> tuple[str, str]:
        # By the machine's time: receivers check it with a clock of their own.
        headers, body = sealed(job, self._signer, delivery.tries, time.time())
        timeout = FIRST_TIMEOUT_SECONDS if delivery.tries == 0 else LATER_TIMEOUT_SECONDS
        try:
            answer = await self._client.post(
                delivery.url, content=body, headers=headers, timeout=timeout
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return "pending", type(error).__name__
        if answer.is_success:
            return "delivered", str(answer.status_code)
        return ("failed" if answer.is_redirect else "pending"), str(answer.status_code)

    def _settle(self, delivery: Delivery, state: str, answer: str) -> None:
        pause = self._settings.webhook_backoff_seconds * 2**delivery.tries
        self._db.execute(
            "UPDATE deliveries SET state = ?, last_answer = ?, tries = tries + 1, due_at = ?"
            " WHERE seq = ?",
            (state, answer, self._queue.now() + min(pause, MAX_PAUSE_SECONDS), delivery.seq),
        )

    async def _may_reach(self, url: str) -> bool:
        """Public addresses only, so that nobody can point the provider at its own network."""
        try:
            parts = httpx.URL(url)
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(parts.host, parts.port or 443)
        except (httpx.InvalidURL, UnicodeError):
            return False
        except OSError:
            return True  # the name does not resolve now; perhaps it will at the next try
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        loopback_is_fine = self._settings.allow_loopback_webhooks
        return all(a.is_global or (a.is_loopback and loopback_is_fine) for a in addresses)

    async def close(self) -> None:
        """Give up what is in flight; it stays owed and is delivered after a restart."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def has_untried(self, request_id: str) -> bool:
        """Whether a webhook of this job is owed that was not even tried once."""
        row = self._db.execute(
            "SELECT 1 FROM deliveries WHERE request_id = ? AND state = 'pending' AND tries = 0",
            (request_id,),
        ).fetchone()
        return row is not None

    def summary(self, request_id: str) -> list[dict[str, Any]]:
        """Every webhook of a job and what became of it, for the admin page."""
        rows = self._db.execute(
            "SELECT url, state, tries, last_answer FROM deliveries WHERE request_id = ?",
            (request_id,),
        )
        return [dict(row) for row in rows]
