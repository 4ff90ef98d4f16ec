"""The ledger's processes: real inboxes, tickets, writers and batches on the loop's own time."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from contracts.limits import WRITE_WAIT_SECONDS
from ledger_service.domain.commands import Command
from ledger_service.engine import writer
from ledger_service.engine.batch import _wanted
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tickets import Inbox, Results, Stage, Ticket
from ledger_service.errors import LedgerError, OutcomeUnknown, Unavailable
from ledger_service.store.vault import Sealed, Vault
from tests.simulation.clock import Clock, VirtualLoop
from tests.simulation.connection import MemoryConnection, ProcessKilled
from tests.simulation.faults import Faults
from tests.simulation.tables import Place, Tables
from tests.simulation.trace import Trace, Violation

PROCESSES: Final = (1, 2, 2, 3)
RESTART_SECONDS: Final = 1.5


class ConnectionBroken(ConnectionError):
    """The process died while its caller waited: nobody knows what it had done by then."""


class PlainVault(Vault):
    """Keeps entries as they are: ciphertexts would be others in each run of a seed."""

    def __init__(self) -> None:
        self._entries = itertools.count()

    def new_key(self, owner: str) -> tuple[bytes, bytes]:
        """No key."""
        return b"", owner.encode()

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """No key."""
        assert wrapped == owner.encode()
        return b""

    def seal(self, owner: str, key: bytes, content: dict[str, Any]) -> Sealed:
        """The same content twice makes two entries, as with nonces."""
        plain = msgspec.json.encode(content)
        text = f"{owner} {next(self._entries)} ".encode() + plain
        return Sealed(owner, hashlib.sha256(text).digest(), plain)


class Process:
    """One process: what `Engine` is with a thread, without one."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self._ledger = ledger
        self.number = number
        self.is_alive = True
        self.is_settling = False
        self.inbox = Inbox()
        self._waiting: dict[Ticket, None] = {}
        self._is_busy = False
        self._writer = writer.Writer(
            "", ledger.vault, self.inbox, self._deliver,
            connect=lambda _: MemoryConnection(ledger.tables, ledger.faults, self._step_aside),
            pause=lambda _: None,
        )  # fmt: skip

    async def submit(self, submission: Submission) -> Done:
        """As `Engine.submit`; raises `ConnectionBroken` when the process dies meanwhile."""
        loop = self._ledger.loop
        ticket = Ticket(submission, loop.create_future())
        self.inbox.put(ticket)
        self._waiting[ticket] = None
        timer = loop.call_later(WRITE_WAIT_SECONDS, self._give_up, ticket)
        self._wake()
        try:
            return await ticket.future
        finally:
            timer.cancel()
            self._waiting.pop(ticket, None)

    def waits_for(self) -> set[Place]:
        """Streams that its next batch would lock."""
        return set(_wanted(list(self.inbox._tickets)).streams)

    def commit_now(self) -> None:
        """Take what waits, and settle it at once."""
        self._settle(self.inbox.take_now(writer.BATCH_MAX))

    def _wake(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._later(0.0, 0.01, self._take)

    def _take(self) -> None:
        tickets = self.inbox.take_now(writer.BATCH_MAX)
        slow = self._ledger.faults.strikes("slow_commit")
        self._later(*((3.0, 6.0) if slow else (0.001, 0.02)), self._finish, tickets)

    def _finish(self, tickets: list[Ticket]) -> None:
        self._settle(tickets)
        self._is_busy = False
        if any(ticket.stage is not Stage.WITHDRAWN for ticket in self._waiting):
            self._wake()

    def _settle(self, tickets: list[Ticket]) -> None:
        if not tickets or not self.is_alive:
            return
        self.is_settling = True
        try:
            self._writer.settle(tickets)
        except ProcessKilled:
            self._die()
        self.is_settling = False
        self._ledger.committed()

    def _step_aside(self, locked: Iterable[Place]) -> None:
        """Let another process commit first, if no lock would make it wait for us."""
        for other in self._ledger.processes:
            is_free = other.is_alive and not other.is_settling
            if is_free and not other.waits_for() & set(locked):
                other.commit_now()

    def _deliver(self, results: Results) -> None:
        for ticket, result in results:
            self._ledger.judge_result(ticket.submission, result)
            if ticket.future.done():
                continue
            if isinstance(result, Done):
                ticket.future.set_result(result)
            else:
                ticket.future.set_exception(result)

    def _give_up(self, ticket: Ticket) -> None:
        if ticket.future.done():
            return
        if self.inbox.withdraw(ticket):
            error: LedgerError = Unavailable("the database does not answer")
            self._ledger.judge_result(ticket.submission, error)
        else:
            error = OutcomeUnknown()
        ticket.future.set_exception(error)

    def _die(self) -> None:
        self.is_alive = False
        self._ledger.trace.add("ledger", self.number, "was killed")
        for ticket in self._waiting:
            if not ticket.future.done():
                ticket.future.set_exception(ConnectionBroken())
        self._ledger.loop.call_later(RESTART_SECONDS, self._ledger.restart, self.number)

    def _later(self, least: float, most: float, callback: Callable[..., None], *args: Any) -> None:
        self._ledger.loop.call_later(self._ledger.chance.uniform(least, most), callback, *args)


class Ledger:
    """The service: processes behind one address. `on_commit` hears of new rows, `on_result` of
    every outcome, whether or not anybody still waits for it."""

    def __init__(
        self, loop: VirtualLoop, clock: Clock, tables: Tables, faults: Faults, chance: Random,
        trace: Trace,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.clock = clock
        self.tables = tables
        self.faults = faults
        self.chance = chance
        self.trace = trace
        self.vault = PlainVault()
        self.on_commit: list[Callable[[], None]] = []
        self.on_result: list[Callable[[Submission, Done | LedgerError], None]] = []
        self.on_violation: Callable[[Violation], None] = _raise
        self.results = 0
        self._submissions = itertools.count()
        self.processes = [Process(self, number) for number in range(chance.choice(PROCESSES))]

    async def submit(
        self, command: Command, actor: str, private: dict[str, Any] | None = None
    ) -> Done:
        """One request at one of the processes that live."""
        return await self.pick().submit(self.submission(command, actor, private))

    async def try_out(
        self, command: Command, actor: str, private: dict[str, Any] | None = None
    ) -> Done:
        """A dry run of a request."""
        wanted = self.submission(command, actor, private)
        return await self.pick().submit(replace(wanted, is_dry_run=True))

    def pick(self) -> Process:
        """A process that lives. Raises `Unavailable`."""
        alive = [process for process in self.processes if process.is_alive]
        if not alive:
            raise Unavailable("connect")
        return self.chance.choice(alive)

    def submission(
        self, command: Command, actor: str, private: dict[str, Any] | None = None
    ) -> Submission:
        """A request of its own, told from any other by its trace id."""
        fingerprint = hashlib.sha256(f"{type(command).__name__} {command}".encode()).digest()
        return Submission(
            command=command,
            actor=actor,
            trace_id=f"trace-{next(self._submissions)}",
            occurred_at=self.clock.now(),
            fingerprint=fingerprint if command.key else None,
            private=private,
        )

    def restart(self, number: int) -> None:
        """A new process in the place of one that died."""
        self.processes[number] = Process(self, number)

    def committed(self) -> None:
        """Something may have been written."""
        try:
            for listener in self.on_commit:
                listener()
        except Violation as violation:
            self.on_violation(violation)

    def judge_result(self, submission: Submission, result: Done | LedgerError) -> None:
        """Before anybody hears of it."""
        self.results += 1
        try:
            for listener in self.on_result:
                listener(submission, result)
        except Violation as violation:
            self.on_violation(violation)


class BugCatcher(logging.Handler):
    """The writer survives what nobody foresaw and logs it: here it ends the history."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.caught: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of the record."""
        if record.exc_info and record.exc_info[1] is not None:
            self.caught.append(record.exc_info[1])


def _raise(violation: Violation) -> None:
    raise violation
