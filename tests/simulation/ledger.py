"""The ledger's processes: real engines over connections in memory, on the loop's own time."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ledger_service.domain.commands import Command
from ledger_service.engine.engine import Engine
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tickets import Results
from ledger_service.engine.writer import Connect
from ledger_service.errors import LedgerError, Unavailable
from ledger_service.store.vault import Sealed, Vault
from ledger_service.store.writing import WritingConnection
from tests.simulation.clock import Clock, VirtualLoop
from tests.simulation.connection import MemoryConnection, Server
from tests.simulation.faults import Faults
from tests.simulation.tables import Tables
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


class JudgedEngine(Engine):
    """Every outcome is judged, whether or not anybody still waits for it."""

    def __init__(self, ledger: Ledger, connect: Connect) -> None:
        super().__init__("", ledger.vault, connect)
        self._ledger = ledger

    def die(self) -> None:
        """It does nothing any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _deliver(self, results: Results) -> None:
        for ticket, result in results:
            self._ledger.judge_result(ticket.submission, result)
        super()._deliver(results)


class Process:
    """One process with its engine and its connections."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self._ledger = ledger
        self.number = number
        self.is_alive = True
        self._engine = JudgedEngine(ledger, self._connect)
        self._is_started = False
        self._connections: list[MemoryConnection] = []
        self._death: asyncio.Future[None] = ledger.loop.create_future()

    async def submit(self, submission: Submission) -> Done:
        """As `Engine.submit`; raises `ConnectionBroken` when the process dies meanwhile."""
        if not self._is_started:
            self._is_started = True
            await self._engine.start()
        asked = self._ledger.loop.create_task(self._engine.submit(submission))
        await asyncio.wait((asked, self._death), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            raise ConnectionBroken
        try:
            return asked.result()
        except Unavailable as error:
            self._ledger.judge_result(submission, error)
            raise

    def die(self) -> None:
        """`kill -9`: its transactions are rolled back, its callers hear nothing."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._ledger.trace.add("ledger", self.number, "was killed")
        self._engine.die()
        for connection in self._connections:
            connection.die()
        self._death.set_result(None)
        self._ledger.loop.call_later(RESTART_SECONDS, self._ledger.restart, self.number)

    async def _connect(self, _: str) -> WritingConnection:
        await self._ledger.server.work()
        connection = MemoryConnection(self._ledger.server, self)
        self._connections.append(connection)
        return connection


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
        self._dead: list[Process] = []
        self.server = Server(tables, faults, chance, self.committed)
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
        self._dead.append(self.processes[number])  # its tasks wait for ever, and are not collected
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
