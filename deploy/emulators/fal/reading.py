"""Fetches the files that inputs name, before the jobs that need them can end.

By default only addresses of this machine are called: a machine without a network works, and so does
a test that names ``https://example.com/boat.png``. See ``--fetch-inputs``.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import httpx

from deploy.emulators.fal import inputs
from deploy.emulators.fal.inputs import MAX_INPUT_BYTES, Fault, Fetching, Named
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.records import Job

FETCH_SECONDS: Final = 10.0
_MAX_IN_FLIGHT: Final = 8


class InputReader:
    """Reads what is unread; `run_due` is called whenever something may be."""

    def __init__(self, queue: JobQueue, fetching: Fetching) -> None:
        self._queue = queue
        self._fetching = fetching
        self._client = httpx.AsyncClient(follow_redirects=True, timeout=FETCH_SECONDS)
        # Nobody stands between this machine and itself, and its certificates are its own.
        self._own = httpx.AsyncClient(
            follow_redirects=True,
            timeout=FETCH_SECONDS,
            trust_env=False,
            verify=False,  # noqa: S501
        )
        self._in_flight: dict[str, asyncio.Task[None]] = {}

    def run_due(self) -> None:
        """Start to read for every job that waits for it, within bounds."""
        for job in self._queue.unread(2 * _MAX_IN_FLIGHT):
            if job.request_id not in self._in_flight and len(self._in_flight) < _MAX_IN_FLIGHT:
                task = asyncio.create_task(self._read(job))
                self._in_flight[job.request_id] = task
                task.add_done_callback(partial(self._ended, job.request_id))

    def _ended(self, request_id: str, task: asyncio.Task[None]) -> None:
        del self._in_flight[request_id]
        if not task.cancelled():
            task.result()  # raises what a bug raised, for the loop's log

    async def _read(self, job: Job) -> None:
        faults = []
        for named in inputs.to_fetch(job.input, self._fetching):
            try:
                inputs.examine(await self._fetch(named), named.kind)
            except Fault as fault:
                faults.append(named.described(fault))
        self._queue.note_inputs(job.request_id, faults, self._queue.now())

    async def _fetch(self, named: Named) -> bytes:
        """A file's content, or as much of it as proves that it is too large."""
        client = self._own if named.is_local else self._client
        content = bytearray()
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                client.stream("GET", named.address) as answer,
            ):
                if not answer.is_success:
                    raise Fault("file_download_error")
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MAX_INPUT_BYTES:
                        break
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError):
            raise Fault("file_download_error") from None
        return bytes(content)

    async def close(self) -> None:
        """Give up what is in flight; it stays unread, and is read after a restart."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()
        await self._own.aclose()
