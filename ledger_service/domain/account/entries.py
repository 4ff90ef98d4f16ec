"""What an event is on a statement: by how much it moved the balance, and which way.

The amounts of an account's entries, each with the sign of its direction, add up to `posted` at
every entry. Statements, projections and audits all go by these rules.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from contracts.api.log import Direction
from ledger_service.domain.events import topic_of
from ledger_service.domain.events.account import (
    AccountEvent,
    CreditsDebited,
    CreditsExpired,
    CreditsGranted,
    DebitRefunded,
    LotDerived,
)
from ledger_service.domain.events.clawbacks import (
    CreditsReclaimed,
    CreditsVoided,
    DebtWrittenOff,
    GrantClawedBack,
    GrantVoided,
)
from ledger_service.domain.events.holds import (
    HoldCaptured,
    HoldEnded,
    HoldExtended,
    HoldPlaced,
    HoldsReleased,
)
from ledger_service.domain.events.transfers import (
    CreditsTransferredOut,
    DebtAssumed,
    DebtForwarded,
)

_SIGNS: Final = {Direction.CREDIT: 1, Direction.DEBIT: -1, Direction.NONE: 0}
_MOVED_WITHIN: Final = frozenset({"grace", "rollover"})


class Movement(NamedTuple):
    """Credits, and what that did to the posted balance."""

    amount: int
    direction: Direction

    @property
    def signed(self) -> int:
        """The change of the posted balance."""
        return self.amount * _SIGNS[self.direction]


NOTHING: Final = Movement(0, Direction.NONE)


def entry_type(event: AccountEvent) -> str:
    """The event's name on a statement: its topic without the version."""
    return topic_of(event).partition(".")[0]


def movement_of(event: AccountEvent) -> Movement:
    """What the event did to the posted balance; what moves none may still have an amount."""
    match event:
        case CreditsGranted() | DebtWrittenOff() | DebtForwarded():
            return _moving(event.amount, Direction.CREDIT)
        case DebitRefunded():  # what was restored enters with the lot that follows
            return _moving(event.amount - event.restored, Direction.CREDIT)
        case LotDerived():
            inside = event.kind in _MOVED_WITHIN
            return _moving(event.amount, Direction.NONE if inside else Direction.CREDIT)
        case GrantClawedBack():
            back = Direction.CREDIT if event.is_reversal else Direction.DEBIT
            return _moving(event.amount, back)
        case CreditsDebited() | HoldCaptured() | CreditsTransferredOut() | DebtAssumed():
            return _moving(event.amount, Direction.DEBIT)
        case CreditsExpired() | CreditsVoided() | GrantVoided():
            return _moving(event.amount, Direction.DEBIT)
        case CreditsReclaimed():  # as much less debt as there are fewer credits
            return _moving(event.amount, Direction.NONE)
        case HoldPlaced() | HoldExtended() | HoldEnded():
            return _moving(event.hold.amount, Direction.NONE)
        case HoldsReleased():
            return _moving(sum([part.amount for part in event.holds]), Direction.NONE)
    return NOTHING


def reference_of(event: AccountEvent) -> str | None:
    """The caller's own id of the business fact that the event is about."""
    if isinstance(event, HoldPlaced | HoldExtended | HoldEnded):
        return event.hold.reference
    if isinstance(event, GrantClawedBack) and event.origin_owner is not None:
        return None  # it came down from another lot, under a name of ours
    reference: str | None = getattr(event, "reference", None)
    return reference


def _moving(amount: int, direction: Direction) -> Movement:
    return Movement(amount, direction) if amount else NOTHING
