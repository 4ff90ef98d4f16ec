"""What the event that bears a key keeps of the command's first answer."""

from __future__ import annotations

from datetime import datetime

from ledger_service.domain.account.balance import idle
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.commands import Key
from ledger_service.domain.events.account import Answer

REPLY_VERSION = 5
"""The render functions that make first answers today; replays use the one recorded."""


def answer_of(
    state: AccountState, key: Key, now: datetime, *, http_status: int, trailing: int
) -> Answer:
    """The account after the command, of whose events `trailing` follow the one that bears it."""
    posted, held = state.posted, state.held
    waiting, ended = idle(state, now)
    return Answer(
        key=key.text,
        http_status=http_status,
        reply=REPLY_VERSION,
        version=state.version,
        posted=posted,
        held=held,
        available=posted - held - waiting - ended + state.credit_limit,
        debt=state.debt,
        credit_limit=state.credit_limit,
        pending_expiry=ended,
        status=state.status,
        unit=state.unit,
        opened_at=state.opened_at,
        trailing=trailing,
        merged_into=state.merged_into,
    )
