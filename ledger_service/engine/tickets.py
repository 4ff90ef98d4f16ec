"""Tickets: submissions on their way through the writer, and the inbox they wait in."""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections import deque

from ledger_service.engine.submission import Done, Submission
from ledger_service.errors import LedgerError, Unavailable

INBOX_MAX = 4_096
"""Commands that may wait; beyond it the caller is told at once to come back later."""


class Stage(enum.Enum):
    """How far a ticket has come. Only a waiting one can be withdrawn."""

    WAITING = enum.auto()
    TAKEN = enum.auto()
    WITHDRAWN = enum.auto()


class Ticket:
    """One submission with its waiting caller.

    `extra_streams` grows when a decision asks for more locks than the command named.
    `may_be_committed`: the answer to an earlier try's commit got lost.
    """

    __slots__ = (
        "extra_streams",
        "future",
        "may_be_committed",
        "stage",
        "submission",
        "submitted_at",
    )

    def __init__(self, submission: Submission, future: asyncio.Future[Done]) -> None:
        self.submission = submission
        self.future = future
        self.submitted_at = time.monotonic()
        self.stage = Stage.WAITING
        self.extra_streams: frozenset[str] = frozenset()
        self.may_be_committed = False


Result = Done | LedgerError
Results = list[tuple[Ticket, Result]]


class Inbox:
    """Where tickets wait for the writer thread. Safe to use from any thread."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self._arrival = threading.Condition()
        self._is_closed = False

    def put(self, ticket: Ticket) -> None:
        """Raises `Unavailable` when full or closed."""
        with self._arrival:
            if self._is_closed:
                raise Unavailable("stopping")
            if len(self._tickets) >= INBOX_MAX:
                raise Unavailable("overloaded")
            self._tickets.append(ticket)
            if len(self._tickets) == 1:
                self._arrival.notify()

    def put_back(self, tickets: list[Ticket]) -> None:
        """Taken tickets that need another batch go to the front."""
        with self._arrival:
            self._tickets.extendleft(reversed(tickets))

    def take(self, most: int) -> list[Ticket]:
        """Wait for tickets and take up to `most`; empty once closed and drained."""
        with self._arrival:
            while True:
                taken = self.take_now(most)
                if taken or self._is_closed:
                    return taken
                self._arrival.wait()

    def take_now(self, most: int) -> list[Ticket]:
        """Take up to `most` of the tickets that wait, maybe none."""
        with self._arrival:
            taken: list[Ticket] = []
            while self._tickets and len(taken) < most:
                ticket = self._tickets.popleft()
                if ticket.stage is not Stage.WITHDRAWN:
                    ticket.stage = Stage.TAKEN
                    taken.append(ticket)
            return taken

    def withdraw(self, ticket: Ticket) -> bool:
        """Take back a ticket that no batch has taken; says whether that was still possible."""
        with self._arrival:
            if ticket.stage is Stage.WAITING:
                ticket.stage = Stage.WITHDRAWN
            return ticket.stage is Stage.WITHDRAWN

    def close(self) -> None:
        """Accept nothing more and let the taker go once all is taken."""
        with self._arrival:
            self._is_closed = True
            self._arrival.notify_all()
