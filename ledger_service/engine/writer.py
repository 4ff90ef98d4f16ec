"""The writer: one thread, one connection, one batch after the other.

A batch is everything that arrived while the last commit was in flight. When a commit's answer
is lost the writer reconnects and decides the batch again: what had been committed is found by
its keys, so nothing happens twice.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from ledger_service.engine.batch import Batch
from ledger_service.engine.tickets import Inbox, Results, Ticket
from ledger_service.errors import (
    Contention,
    LedgerError,
    OutcomeUnknown,
    Unavailable,
    UnknownSnapshot,
)
from ledger_service.store.vault import Vault
from ledger_service.store.writing import ConnectionLost, DatabaseUnfit, WritingConnection

BATCH_MAX: Final = 256
CONTENTION_TRIES_MAX: Final = 20
RECONNECT_SECONDS_MAX: Final = 1.0

_log = logging.getLogger(__name__)


class Writer:
    """Takes tickets from the inbox until it closes; `deliver` gets their results.

    Without a thread of its own, `settle` may be called instead; `connect` and `pause` are then
    the caller's.
    """

    def __init__(
        self,
        url: str,
        vault: Vault,
        inbox: Inbox,
        deliver: Callable[[Results], None],
        *,
        connect: Callable[[str], WritingConnection] = WritingConnection,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url
        self._vault = vault
        self._inbox = inbox
        self._deliver = deliver
        self._connect = connect
        self._pause = pause
        self._connection: WritingConnection | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to take tickets."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Finish what was taken, then end the thread."""
        self._is_stopping.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while tickets := self._inbox.take(BATCH_MAX):
            try:
                self.settle(tickets)
            except Exception as error:
                _log.exception("a batch failed for a reason that nobody foresaw")
                self._drop_connection()
                self._fail(tickets, error)
        self._drop_connection()

    def settle(self, tickets: list[Ticket]) -> None:
        """Bring one batch to its end, over contention and lost connections."""
        tries = 0
        while True:
            try:
                batch = Batch(tickets, self._connected(), self._vault)
                results = batch.run()
            except Contention:
                self._roll_back()
                tries += 1
                if tries >= CONTENTION_TRIES_MAX:
                    return self._fail(tickets, Unavailable("too much contention"))
                self._pause(random.uniform(0, 0.005 * 2 ** min(tries, 6)))
            except ConnectionLost as error:
                self._drop_connection()
                tries += 1
                for ticket in tickets:
                    if not ticket.submission.is_dry_run:
                        ticket.may_be_committed |= error.commit_sent
                if self._gives_up(tickets, tries):
                    return self._fail(tickets, error)
                self._pause(min(0.02 * 2 ** min(tries, 6), RECONNECT_SECONDS_MAX))
            except DatabaseUnfit as error:
                _log.error("the database takes no writes: %s", error)
                self._drop_connection()  # the next one may lead to a better server
                return self._fail(tickets, error)
            except Exception as error:
                self._roll_back()
                return self._split(tickets, error)
            else:
                self._inbox.put_back(batch.deferred)
                self._deliver(results)
                return None

    def _gives_up(self, tickets: list[Ticket], tries: int) -> bool:
        """What was certainly not committed fails soon; what may have been is looked into until
        the database answers again."""
        if any(ticket.may_be_committed for ticket in tickets):
            return self._is_stopping.is_set()
        return tries > 1

    def _split(self, tickets: list[Ticket], error: Exception) -> None:
        """One command is too much for the database or for us: find it, and settle the others.

        Its account may be unreadable, say, while newer code is being rolled out.
        """
        if len(tickets) == 1:
            kind = type(tickets[0].submission.command).__name__
            if isinstance(error, UnknownSnapshot):
                _log.warning("%s: its account was written by newer code: %s", kind, error)
            else:
                _log.error("%s failed for a reason that nobody foresaw", kind, exc_info=error)
            return self._fail(tickets, error)
        half = len(tickets) // 2
        self.settle(tickets[:half])
        self.settle(tickets[half:])
        return None

    def _fail(self, tickets: list[Ticket], error: Exception) -> None:
        results: Results = []
        for ticket in tickets:
            if ticket.may_be_committed:
                results.append((ticket, OutcomeUnknown()))
            elif isinstance(error, LedgerError):
                results.append((ticket, error))
            else:
                results.append((ticket, LedgerError("internal")))
        self._deliver(results)

    def _connected(self) -> WritingConnection:
        if self._connection is None:
            self._connection = self._connect(self._url)
        return self._connection

    def _roll_back(self) -> None:
        if self._connection is not None:
            self._connection.rollback()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
