"""Everything the ledger raises.

LedgerError
├── Rejected            the request cannot be: the caller's to mend, carries a problem code
├── Contention          someone else was first: the engine reloads and decides again
├── Unavailable         certainly not applied; try again later
│   └── NotCaughtUp     the position asked for is not there yet
├── OutcomeUnknown      it may or may not have been applied; the same key tells
├── RefusedToStart      a setting, the database or the interpreter is not fit for a ledger
└── CorruptHistory      stored data that this code cannot have written
    ├── UnknownTopic
    └── UnknownSnapshot
"""

from __future__ import annotations

from typing import Any

from contracts.problems import FieldError, ProblemCode


class LedgerError(Exception):
    """Base of all errors of the ledger."""


class Rejected(LedgerError):
    """A request that cannot be carried out; nothing was changed."""

    def __init__(
        self, code: ProblemCode, *, errors: tuple[FieldError, ...] = (), **fields: Any
    ) -> None:
        super().__init__(code)
        self.code = code
        self.errors = errors
        self.fields = fields


class Contention(LedgerError):
    """A constraint or a lock says that another writer was first."""


class Unavailable(LedgerError):
    """The command was certainly not applied."""

    def __init__(self, reason: str = "", *, retry_after_seconds: int = 1) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class NotCaughtUp(Unavailable):
    """The read would have been older than the position that the caller asked for."""


class OutcomeUnknown(LedgerError):
    """The commit was under way when its answer got lost, or took too long."""


class RefusedToStart(LedgerError):
    """The process must not serve under these conditions."""


class CorruptHistory(LedgerError):
    """Stored data that cannot be understood: stop rather than guess."""


class UnknownTopic(CorruptHistory):
    """An event of a newer version, or of another program."""


class UnknownSnapshot(CorruptHistory):
    """A head written by newer code than this."""
