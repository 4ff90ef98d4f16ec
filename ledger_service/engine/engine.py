"""The engine as handlers see it: submit a command, await its durable outcome."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from contracts.limits import WRITE_WAIT_SECONDS
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tickets import Inbox, Results, Ticket
from ledger_service.engine.writer import Writer
from ledger_service.errors import OutcomeUnknown, Unavailable
from ledger_service.store.vault import Vault

_SWEEP_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0


class Engine:
    """One writer for one event loop.

    A caller waits at most `WRITE_WAIT_SECONDS`: a command that no batch has taken by then is
    withdrawn (certainly not applied), one that is in flight has an unknown outcome.
    """

    def __init__(self, url: str, vault: Vault) -> None:
        self._inbox = Inbox()
        self._writer = Writer(url, vault, self._inbox, self._deliver_from_thread)
        self._waiting: dict[Ticket, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the writer; commands are accepted from here on."""
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep())
        self._writer.start()

    async def stop(self) -> None:
        """Accept nothing more, finish what is under way."""
        assert self._sweeper is not None
        self._inbox.close()
        await asyncio.to_thread(self._writer.stop, _STOP_SECONDS)
        await asyncio.sleep(0)  # the last deliveries were handed to this loop
        self._sweeper.cancel()

    async def submit(self, submission: Submission) -> Done:
        """Wait for the command's durable outcome.

        Raises `Rejected` (nothing changed), `Unavailable` (certainly not applied), or
        `OutcomeUnknown` (ask again with the same key).
        """
        assert self._loop is not None, "start the engine first"
        ticket = Ticket(submission, self._loop.create_future())
        self._inbox.put(ticket)
        self._waiting[ticket] = None
        try:
            return await ticket.future
        finally:
            self._waiting.pop(ticket, None)

    def _deliver_from_thread(self, results: Results) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, results)

    def _deliver(self, results: Results) -> None:
        for ticket, result in results:
            if ticket.future.done():
                continue
            if isinstance(result, Done):
                ticket.future.set_result(result)
            else:
                ticket.future.set_exception(result)

    async def _sweep(self) -> None:
        """Answer those who have waited long enough."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            latest = time.monotonic() - WRITE_WAIT_SECONDS
            for ticket in list(self._waiting):
                if ticket.submitted_at > latest:
                    break  # in order of arrival
                if ticket.future.done():
                    continue
                if self._inbox.withdraw(ticket) or ticket.submission.is_dry_run:
                    ticket.future.set_exception(Unavailable("the database does not answer"))
                else:
                    ticket.future.set_exception(OutcomeUnknown())
