"""Everything that can be asked of the ledger. A command is data; `decide` gives it meaning."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec

from contracts.api.accounts import AccountStatus
from contracts.api.generations import FlagReason
from contracts.api.prices import PriceLine
from contracts.jobs import CancelledReport, FailedReport, JobPriority, ReportEvent
from contracts.problems import ProblemCode
from ledger_service.domain.account.terms import Schedule, SpendLimit, Thresholds
from ledger_service.domain.ids import generation_stream
from ledger_service.domain.policy import Policy


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
    """Create a lot, and the account if this is its first.

    `is_expiry_open`: the request said nothing about an end, so the tenant's policy does. An
    adjustment does not open an account.
    """

    amount: int
    source: str
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int
    unit_cost_micros: int | None = None
    currency: str | None = None
    restrict_to: tuple[str, ...] = ()
    reference: str | None = None
    reason: str | None = None
    is_expiry_open: bool = False
    is_adjustment: bool = False


class DebitCredits(Command, frozen=True, kw_only=True):
    """Spend credits on something that `tags` describe. `spender` is the id of the API key, for
    spend limits; an adjustment counts towards none."""

    amount: int
    tags: tuple[str, ...] = ()
    reason: str | None = None
    reference: str | None = None
    spender: str | None = None
    is_adjustment: bool = False


class RefundDebit(Command, frozen=True, kw_only=True):
    """Give back `amount` credits of a debit; null means all that is left of it."""

    debit_id: str
    amount: int | None
    reason: str | None = None


class PlaceHold(Command, frozen=True, kw_only=True):
    """Set credits aside for a spend; without `ttl` for as long as the tenant's policy says."""

    amount: int
    ttl: timedelta | None = None
    tags: tuple[str, ...] = ()
    reason: str | None = None
    reference: str | None = None
    spender: str | None = None


class HoldCommand(Command, frozen=True, kw_only=True):
    """Base of commands on one hold."""

    hold_id: str


class CaptureHold(HoldCommand, frozen=True, kw_only=True):
    """Spend `amount` of a hold (null: all of it) and release the rest."""

    amount: int | None = None


class ReleaseHold(HoldCommand, frozen=True, kw_only=True):
    """Free all that a hold holds."""


class ExtendHold(HoldCommand, frozen=True, kw_only=True):
    """Let a hold last until `ttl` from now; never shorter than it already does."""

    ttl: timedelta


class ExpireHold(HoldCommand, frozen=True, kw_only=True):
    """The clockwork found that its time is over."""


class ReleaseHolds(Command, frozen=True, kw_only=True):
    """Release the oldest open holds with this reference, as many as one command takes."""

    reference: str
    reason: str | None = None


class ClawBack(Command, frozen=True, kw_only=True):
    """Under `reference`, this much of a grant is to be taken back in all: `amount` credits, or
    `fraction_millis` thousandths of the grant, rounded down. A smaller target is a reversal."""

    grant_id: str
    reference: str
    as_of: datetime
    amount: int | None = None
    fraction_millis: int | None = None
    reason: str | None = None


class VoidGrant(Command, frozen=True, kw_only=True):
    """End the free part of a grant now."""

    grant_id: str
    reason: str | None = None


class ChangeGrantExpiry(Command, frozen=True, kw_only=True):
    """Let a grant that is not over yet end at another time; null: never."""

    grant_id: str
    expires_at: datetime | None = None
    reason: str | None = None


class WriteOffDebt(Command, frozen=True, kw_only=True):
    """Forgive `amount` of the debt; null: all of it."""

    amount: int | None = None
    reason: str | None = None


class TransferCredits(Command, frozen=True, kw_only=True):
    """Move free credits from the owner to `to_owner`, `amount` null: all of them. A merge moves
    debt as well and makes the owner's account forward everything from then on."""

    to_owner: str
    amount: int | None = None
    is_merge: bool = False
    reason: str | None = None


class ChangeStanding(Command, frozen=True, kw_only=True):
    """Freeze (`frozen`), unfreeze (`active`) or close (`closed`) an account."""

    status: AccountStatus
    reason: str | None = None


class SetSchedules(Command, frozen=True, kw_only=True):
    """Replace the account's recurring grants. One that keeps its id, anchor and period goes on
    where it is."""

    schedules: tuple[Schedule, ...]


class SetThresholds(Command, frozen=True, kw_only=True):
    """Replace what is watched."""

    thresholds: Thresholds


class SetLimits(Command, frozen=True, kw_only=True):
    """Replace the account's spend limits."""

    limits: tuple[SpendLimit, ...]


class SetPolicy(Command, frozen=True, kw_only=True):
    """Replace a tenant's policy. `owner` is `policy_owner(tenant)`."""

    policy: Policy


class VoidCommand(Command, frozen=True, kw_only=True):
    """Make sure that nothing ever happens under the key, if nothing has so far."""


class Decline(Command, frozen=True, kw_only=True):
    """What was asked for cannot be had now, for a reason outside of the ledger's state: refuse it,
    unless it was done under the key before."""

    code: ProblemCode
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class BookExpiry(Command, frozen=True, kw_only=True):
    """Record what is due on an account: expiries, recurring grants, announcements."""


class RequestGeneration(Command, frozen=True, kw_only=True):
    """Debit the price and begin a generation, in one. A quote's price holds before `quote_ends_at`
    alone."""

    model: str
    price: int
    tags: tuple[str, ...]
    deadline_after: timedelta
    price_line: PriceLine | None = None
    quote_id: str | None = None
    quote_ends_at: datetime | None = None
    theme: str | None = None
    priority: JobPriority = JobPriority.NORMAL
    reference: str | None = None
    spender: str | None = None


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


class CancelGeneration(GenerationCommand, frozen=True, kw_only=True):
    """Its owner does not want it any more."""


class DeleteGeneration(GenerationCommand, frozen=True, kw_only=True):
    """Its owner wants to see nothing of it any more; what is under way is cancelled first."""


class FlagGeneration(GenerationCommand, frozen=True, kw_only=True):
    """Somebody reports it; `private` has their own words."""

    reason: FlagReason


class RemoveMedia(GenerationCommand, frozen=True, kw_only=True):
    """Its assets were removed from our storage."""


class ReportGeneration(GenerationCommand, frozen=True, kw_only=True):
    """A worker says what happened. `patience`: how long after its first attempt a generation may
    wait for a provider that takes nothing of us; None: up to its deadline."""

    fence: str
    attempt_id: str
    event: ReportEvent
    worker: str
    patience: timedelta | None = None


class EndOverdue(GenerationCommand, frozen=True, kw_only=True):
    """The clockwork found its deadline passed. `grace` is how long a verdict is waited for."""

    grace: timedelta


class HintGeneration(GenerationCommand, frozen=True, kw_only=True):
    """The provider's webhook says that something happened to attempt `number`: look now."""

    number: int
    request_id: str | None


def streams(command: Command) -> frozenset[str]:
    """The streams whose heads a command needs as far as it can tell; `Need` may add to them."""
    if isinstance(command, TransferCredits):
        return frozenset((command.owner, command.to_owner))
    if not isinstance(command, GenerationCommand):
        return frozenset((command.owner,))
    if isinstance(command, EndOverdue | CancelGeneration | DeleteGeneration) or (
        isinstance(command, ReportGeneration)
        and isinstance(command.event, FailedReport | CancelledReport)
    ):
        return frozenset((command.stream, command.owner))  # it will be compensated
    if isinstance(command, FlagGeneration):
        return frozenset((command.stream, command.owner))  # its answer tells of the account
    return frozenset((command.stream,))
