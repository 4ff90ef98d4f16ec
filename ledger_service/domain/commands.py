"""Everything that can be asked of the ledger. A command is data; `decide` gives it meaning."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import msgspec

from contracts.jobs import CancelledReport, FailedReport, ReportEvent
from ledger_service.domain.ids import generation_stream


class Key(msgspec.Struct, frozen=True):
    """An idempotency key within its space: `k` API keys, `u` end users, `s` the system.

    `digest` is made of the text: the 16 bytes by which the database knows the key.
    """

    space: str
    text: str
    digest: bytes = b""

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.text.encode()).digest()[:16]
        msgspec.structs.force_setattr(self, "digest", digest)


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Base of commands. `private` is the digest of what the vault keeps for this command."""

    owner: str
    key: Key | None = None
    private: str | None = None


class OpenAccount(Command, frozen=True, kw_only=True):
    """Open an account that must not exist yet."""

    unit: str
    credit_limit: int


class ChangeCreditLimit(Command, frozen=True, kw_only=True):
    """Let an account go this far below zero by spending."""

    credit_limit: int


class GrantCredits(Command, frozen=True, kw_only=True):
    """Create a lot, and the account if this is its first."""

    amount: int
    source: str
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int
    unit_cost_micros: int | None = None
    currency: str | None = None
    restrict_to: tuple[str, ...] = ()
    reference: str | None = None


class DebitCredits(Command, frozen=True, kw_only=True):
    """Spend credits on something that `tags` describe."""

    amount: int
    tags: tuple[str, ...] = ()
    reason: str | None = None
    reference: str | None = None


class RefundDebit(Command, frozen=True, kw_only=True):
    """Give back `amount` credits of a debit; null means all that is left of it."""

    debit_id: str
    amount: int | None
    reason: str | None = None


class BookExpiry(Command, frozen=True, kw_only=True):
    """Record what has expired on an account."""


class RequestGeneration(Command, frozen=True, kw_only=True):
    """Debit the price and begin a generation, in one."""

    model: str
    price: int
    tags: tuple[str, ...]
    deadline_after: timedelta
    reference: str | None = None


class GenerationCommand(Command, frozen=True, kw_only=True):
    """Base of commands on one generation."""

    generation_id: str

    @property
    def stream(self) -> str:
        """The generation's stream."""
        return generation_stream(self.owner, self.generation_id)


class ClaimGeneration(GenerationCommand, frozen=True, kw_only=True):
    """A worker asks for the next step."""

    worker: str


class ReportGeneration(GenerationCommand, frozen=True, kw_only=True):
    """A worker says what happened."""

    fence: str
    attempt_id: str
    event: ReportEvent
    worker: str


class EndOverdue(GenerationCommand, frozen=True, kw_only=True):
    """The clockwork found its deadline passed. `grace` is how long a verdict is waited for."""

    grace: timedelta


class HintGeneration(GenerationCommand, frozen=True, kw_only=True):
    """The provider's webhook says that something happened to attempt `number`: look now."""

    number: int
    request_id: str | None


def streams(command: Command) -> frozenset[str]:
    """The streams whose heads a command needs as far as it can tell; `Need` may add to them."""
    if not isinstance(command, GenerationCommand):
        return frozenset((command.owner,))
    if isinstance(command, EndOverdue) or (
        isinstance(command, ReportGeneration)
        and isinstance(command.event, FailedReport | CancelledReport)
    ):
        return frozenset((command.stream, command.owner))  # it will be compensated
    return frozenset((command.stream,))
