"""Rows sent in batches, so that none goes before one that it depends on.

A batch's commands may be carried out in any order. Within one account only rows of the same
direction go into one batch: credits among themselves, or debits among themselves, come to the
same balance in every order, and none of them is refused in one order and not in another.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from contracts.api.batches import BatchResult
from contracts.client import LedgerUnavailable
from contracts.limits import BATCH_COMMANDS_MAX
from contracts.problems import Problem
from ledger_service.errors import Unavailable
from ledger_service.importing.remote import COMMANDS_MAX_BYTES, Remote
from ledger_service.importing.staging import Answered, Staged, Staging

AHEAD_MAX_ROWS: Final = 20_000
"""How far is read ahead, so that accounts with long histories share batches with others."""
PATIENCE_SECONDS: Final = 60.0
"""How long the ledger may answer nothing but "not now"."""
PAUSE_SECONDS: Final = 0.5
REFUSALS_MAX: Final = 1_000

Progress = Callable[[int], None]


class Refusal(msgspec.Struct, frozen=True):
    """A row that the ledger refused. Nothing more of its account was sent after its batch."""

    line: int
    account_id: str
    code: str
    detail: str


class Sent(msgspec.Struct, kw_only=True):
    """How the rows went. `replayed` were in the ledger before; `held_back` followed a refusal."""

    applied: int = 0
    replayed: int = 0
    refused: int = 0
    held_back: int = 0
    refusals: list[Refusal] = msgspec.field(default_factory=list)


class _MadeDebit(msgspec.Struct, frozen=True, kw_only=True):
    debit_id: str


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an answer: the debit that refunds will name."""

    debit: _MadeDebit | None = None


class Queue:
    """Rows in the order of the file's accounts, given out in batches."""

    def __init__(self, rows: Iterator[Staged]) -> None:
        self._rows = rows
        self._waiting: dict[str, deque[Staged]] = {}
        self._ahead = 0
        self._stopped: set[str] = set()
        self.held_back = 0

    def take(self) -> list[Staged]:
        """The next batch; empty when there is nothing left."""
        self._read_ahead()
        batch: list[Staged] = []
        room_bytes = COMMANDS_MAX_BYTES
        for account_id, rows in list(self._waiting.items()):
            is_credit = rows[0].change > 0
            while rows and (rows[0].change > 0) == is_credit:
                # One more byte for the comma; a refund's command grows by the id of its debit.
                size_bytes = len(rows[0].command) + 128
                if len(batch) == BATCH_COMMANDS_MAX or size_bytes > room_bytes:
                    return self._taken(batch)
                room_bytes -= size_bytes
                batch.append(rows.popleft())
            if not rows:
                del self._waiting[account_id]
        return self._taken(batch)

    def put_back(self, rows: Sequence[Staged]) -> None:
        """These were not answered: they come first the next time."""
        for row in reversed(rows):
            if row.account_id in self._stopped:
                self.held_back += 1
            else:
                self._waiting.setdefault(row.account_id, deque()).appendleft(row)
                self._ahead += 1

    def stop(self, account_id: str) -> None:
        """Give out no more rows of an account."""
        self._stopped.add(account_id)
        dropped = len(self._waiting.pop(account_id, ()))
        self._ahead -= dropped
        self.held_back += dropped

    def _read_ahead(self) -> None:
        while self._ahead < AHEAD_MAX_ROWS and (row := next(self._rows, None)) is not None:
            if row.account_id in self._stopped:
                self.held_back += 1
            else:
                self._waiting.setdefault(row.account_id, deque()).append(row)
                self._ahead += 1

    def _taken(self, batch: list[Staged]) -> list[Staged]:
        self._ahead -= len(batch)
        return batch


class Sender:
    """Sends what is still open of a staged file."""

    def __init__(self, remote: Remote, staging: Staging, progress: Progress) -> None:
        self._remote = remote
        self._staging = staging
        self._progress = progress
        self._queue = Queue(staging.steps(only_open=True))
        self.sent = Sent()

    async def run(self) -> Sent:
        """Send everything. Raises `Unavailable` when the ledger is away for too long, and
        `RefusedToStart` when the key may not do this."""
        last_answer = time.monotonic()
        while batch := self._queue.take():
            if self._settle(batch, await self._ask(batch)):
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > PATIENCE_SECONDS:
                raise Unavailable("the ledger does not answer; run the same again later")
            else:
                await asyncio.sleep(PAUSE_SECONDS)
            self._progress(self.sent.applied + self.sent.replayed + self.sent.refused)
        self.sent.held_back = self._queue.held_back
        return self.sent

    async def _ask(self, batch: Sequence[Staged]) -> Sequence[BatchResult]:
        try:
            return await self._remote.carry_out([self._command(row) for row in batch])
        except LedgerUnavailable:
            return [BatchResult(status=503, body=msgspec.Raw()) for _ in batch]

    def _command(self, row: Staged) -> msgspec.Raw:
        if row.refund_of is None:
            return msgspec.Raw(row.command)
        debit_id = self._staging.ledger_id(row.refund_of)
        assert debit_id is not None  # a refund waits for its debit, and is dropped with it
        command = msgspec.json.decode(row.command)
        return msgspec.Raw(msgspec.json.encode({**command, "debit_id": debit_id}))

    def _settle(self, batch: Sequence[Staged], results: Iterable[BatchResult]) -> bool:
        """Note the answers; whether there were any."""
        answered: list[Answered] = []
        unanswered: list[Staged] = []
        for row, result in zip(batch, results, strict=True):
            if result.status < 300:
                outcome = "replayed" if result.replayed else "applied"
                answered.append(Answered(row.line, outcome, _debit_id(result.body)))
            elif result.status == 429 or result.status >= 500:
                unanswered.append(row)
            else:
                self._refuse(row, result.body)
        self._staging.note(answered)
        self._queue.put_back(unanswered)
        replayed = sum(answer.outcome == "replayed" for answer in answered)
        self.sent.replayed += replayed
        self.sent.applied += len(answered) - replayed
        return len(unanswered) < len(batch)

    def _refuse(self, row: Staged, body: msgspec.Raw) -> None:
        self._queue.stop(row.account_id)
        self.sent.refused += 1
        if len(self.sent.refusals) < REFUSALS_MAX:
            self.sent.refusals.append(refusal_of(row, body))


def refusal_of(row: Staged, body: bytes | msgspec.Raw) -> Refusal:
    """What the ledger found wrong with a row: a problem document."""
    problem, _ = Problem.parse(bytes(body))
    detail = "; ".join(f"{error.pointer} {error.detail}" for error in problem.errors)
    return Refusal(row.line, row.account_id, problem.code, detail or problem.detail)


def _debit_id(body: bytes | msgspec.Raw) -> str | None:
    made = msgspec.json.decode(body, type=_Made)
    return None if made.debit is None else made.debit.debit_id
