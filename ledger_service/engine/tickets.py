"""Tickets: submissions on their way through the writer, and the inbox they wait in."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Iterator

from ledger_service.engine.submission import Done, Submission
from ledger_service.errors import LedgerError

KeyId = tuple[str, str, bytes]
"""An idempotency key as the database knows it: owner, space, digest."""


class Stage(enum.Enum):
    """How far a ticket has come. Only a waiting one can be withdrawn."""

    WAITING = enum.auto()
    TAKEN = enum.auto()
    WITHDRAWN = enum.auto()


class Ticket:
    """One submission with its waiting caller. `submitted_at` is by the loop's clock.

    `extra_streams` grows when a decision asks for more locks than the command named.
    `may_be_committed`: the answer to an earlier try's commit got lost. `looks` counts how often
    something was read for it, `warm_tries` how often it was decided without locks; `needs_locks`
    says that it cannot be.
    """

    __slots__ = (
        "extra_streams",
        "future",
        "key_id",
        "looks",
        "may_be_committed",
        "needs_locks",
        "stage",
        "submission",
        "submitted_at",
        "warm_tries",
    )

    def __init__(
        self, submission: Submission, future: asyncio.Future[Done], submitted_at: float = 0.0
    ) -> None:
        command = submission.command
        self.submission = submission
        self.future = future
        self.submitted_at = submitted_at
        self.stage = Stage.WAITING
        self.key_id: KeyId | None = None
        if command.key is not None and not submission.is_dry_run:
            self.key_id = (command.owner, command.key.space, command.key.digest)
        self.extra_streams: frozenset[str] = frozenset()
        self.may_be_committed = False
        self.looks = 0
        self.warm_tries = 0
        self.needs_locks = submission.is_dry_run

    def withdraw(self) -> bool:
        """Take it back if no batch has taken it; says whether that was still possible."""
        if self.stage is Stage.WAITING:
            self.stage = Stage.WITHDRAWN
        return self.stage is Stage.WITHDRAWN


Result = Done | LedgerError
Results = list[tuple[Ticket, Result]]


class Inbox:
    """Where tickets wait for a batch, first come, first served."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets)

    def put(self, ticket: Ticket) -> None:
        """To the end."""
        self._tickets.append(ticket)

    def put_back(self, tickets: list[Ticket]) -> None:
        """Tickets that need another batch go to the front; nothing was written for them."""
        for ticket in tickets:
            if ticket.stage is Stage.TAKEN and not ticket.may_be_committed:
                ticket.stage = Stage.WAITING
        self._tickets.extendleft(reversed(tickets))

    def take(self, most: int) -> list[Ticket]:
        """Take up to `most` of the tickets that still want to be answered, maybe none."""
        taken: list[Ticket] = []
        while self._tickets and len(taken) < most:
            ticket = self._tickets.popleft()
            if ticket.stage is not Stage.WITHDRAWN:
                taken.append(ticket)
        return taken
