"""The engine as handlers see it: submit a command, await its durable outcome."""

from __future__ import annotations

import asyncio
from typing import Final

from contracts.limits import WRITE_WAIT_SECONDS
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tally import Tally
from ledger_service.engine.tickets import Results, Ticket
from ledger_service.engine.writer import Connect, Writer
from ledger_service.errors import OutcomeUnknown, Unavailable
from ledger_service.store.vault import Vault
from ledger_service.store.writing import connect

WAITING_MAX: Final = 4_096
"""Commands that may wait; beyond it the caller is told at once to come back later."""

_SWEEP_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0


class Engine:
    """One writer for one event loop.

    A caller waits at most `WRITE_WAIT_SECONDS`: a command that no batch has taken by then is
    withdrawn (certainly not applied), one that is in flight has an unknown outcome.
    """

    def __init__(self, url: str, vault: Vault, connect: Connect = connect) -> None:
        self._url = url
        self._vault = vault
        self._connect = connect
        self._waiting: dict[Ticket, None] = {}
        self._is_closed = False
        self.tally = Tally()
        self._writer: Writer | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Commands whose callers wait."""
        return len(self._waiting)

    async def start(self) -> None:
        """Start the writer; commands are accepted from here on."""
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(self._url, self._vault, self._deliver, self.tally, self._connect)

    async def stop(self) -> None:
        """Accept nothing more, finish what is under way."""
        assert self._writer is not None
        self._is_closed = True
        self._writer.stop()
        if waiting := [ticket.future for ticket in self._waiting]:
            await asyncio.wait(waiting, timeout=_STOP_SECONDS)
        self._writer.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def submit(self, submission: Submission) -> Done:
        """Wait for the command's durable outcome.

        Raises `Rejected` (nothing changed), `Unavailable` (certainly not applied), or
        `OutcomeUnknown` (ask again with the same key).
        """
        assert self._writer is not None, "start the engine first"
        if self._is_closed:
            raise Unavailable("stopping")
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("overloaded")
        ticket = Ticket(submission, self._loop.create_future(), self._loop.time())
        self._waiting[ticket] = None
        self._writer.put(ticket)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        try:
            return await ticket.future
        except OutcomeUnknown:
            self.tally.unknown += 1
            raise
        finally:
            self._waiting.pop(ticket, None)

    def _deliver(self, results: Results) -> None:
        for ticket, result in results:
            if ticket.future.done():
                continue
            if isinstance(result, Done):
                ticket.future.set_result(result)
            else:
                ticket.future.set_exception(result)

    def _sweep(self) -> None:
        """Answer those who have waited long enough, as long as anybody waits."""
        latest = self._loop.time() - WRITE_WAIT_SECONDS
        for ticket in list(self._waiting):
            if ticket.submitted_at > latest:
                break  # in order of arrival
            if ticket.future.done():
                continue
            if ticket.withdraw() or ticket.submission.is_dry_run:
                ticket.future.set_exception(Unavailable("the database does not answer"))
            else:
                ticket.future.set_exception(OutcomeUnknown())
        self._sweeper = None
        if self._waiting:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
