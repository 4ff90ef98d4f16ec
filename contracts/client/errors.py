"""What a call of the ledger can end with, besides its reply.

    LedgerError
    ├── LedgerRejected      the ledger said no; nothing was changed, and asking again is no use
    └── LedgerUnavailable   no answer, or "not now": the outcome may be unknown

No exception of the HTTP library ever leaves this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LedgerError(Exception):
    """Base of both ends; `operation` is the method and path of the call."""

    def __init__(self, operation: str, message: str) -> None:
        super().__init__(f"{operation}: {message}")
        self.operation = operation


class LedgerRejected(LedgerError):
    """The ledger's refusal. `code` is a problem code, `fields` all data of the problem document.

    `code` is a plain string, so that a code newer than this client still arrives.
    """

    def __init__(self, operation: str, code: str, status: int, fields: Mapping[str, Any]) -> None:
        super().__init__(operation, f"{code} ({status})")
        self.code = code
        self.status = status
        self.fields = fields


class LedgerUnavailable(LedgerError):
    """No usable answer. `reason` is a problem code or one of the client's own:

    `connect` (certainly not sent), `timeout`, `broken` (sent, the answer was lost), `unreadable`.
    `not_applied` is true when the call certainly had no effect.
    """

    def __init__(
        self,
        operation: str,
        reason: str,
        *,
        not_applied: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(operation, reason)
        self.reason = reason
        self.not_applied = not_applied
        self.retry_after_seconds = retry_after_seconds
