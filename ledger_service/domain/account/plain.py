"""The short way for a command that brings about one event on an account where nothing else is due.

Most spends are such. What they come to is decided by the same functions as on the long way
(`draft.py`, `settle.py`, `finishing.py`), which costs twice as much because it provides for more;
a property test holds the two against each other.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.evolve import evolve
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.account.terms import NO_TERMS
from ledger_service.domain.answering import answer_of
from ledger_service.domain.commands import Command
from ledger_service.domain.events.account import AccountEvent
from ledger_service.domain.world import Decision, HoldState, NewEvent


def is_plain(state: AccountState, now: datetime) -> bool:
    """Whether the account is active, whole at hand, bound by no terms, and nothing of it is due."""
    if state.status is not AccountStatus.ACTIVE or state.overflow.count:
        return False
    if state.terms is not NO_TERMS and state.terms != NO_TERMS:
        return False
    for lot in state.lots:
        expires_at = lot.expires_at
        if expires_at is not None and expires_at <= now:
            return False
    return True


def sole_event(
    command: Command,
    before: AccountState,
    event: AccountEvent,
    now: datetime,
    *,
    http_status: int,
    hold: HoldState | None = None,
) -> Decision:
    """The decision that records this event and nothing else. The account is plain."""
    owner, version = command.owner, before.version + 1
    after = evolve(before, event, version, now)
    answer = None
    if command.key is not None:
        answer = answer_of(after, command.key, now, http_status=http_status, trailing=0)
    stamped = replace(event, posted=after.posted, held=after.held, command=answer)
    return Decision(
        events=(NewEvent(owner, owner, version, stamped, command.key),),
        accounts={owner: after},
        holds={hold.hold.hold_id: hold} if hold is not None else {},
        answer_at=None if answer is None else 0,
    )
