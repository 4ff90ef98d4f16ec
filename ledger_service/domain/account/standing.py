"""Which movements an account's status allows."""

from __future__ import annotations

import enum
from typing import Final

from contracts.api.accounts import AccountStatus
from contracts.problems import ProblemCode
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.world import Refusal


class Movement(enum.Enum):
    """Movements as far as statuses tell them apart."""

    GRANT = enum.auto()
    SPEND = enum.auto()
    SETTLE = enum.auto()


_CODES: Final = {
    (AccountStatus.FROZEN, Movement.SPEND): ProblemCode.ACCOUNT_FROZEN,
    (AccountStatus.CLOSED, Movement.SPEND): ProblemCode.ACCOUNT_CLOSED,
    (AccountStatus.CLOSED, Movement.GRANT): ProblemCode.ACCOUNT_CLOSED,
    (AccountStatus.MERGED, Movement.SPEND): ProblemCode.ACCOUNT_MERGED,
}


def refusal_by_status(state: AccountState, movement: Movement) -> Refusal | None:
    """Why the account's status forbids the movement; None when it does not.

    What settles earlier business (refunds, expiry, compensation) is always allowed.
    """
    if state.status is AccountStatus.ACTIVE:
        return None
    code = _CODES.get((state.status, movement))
    if code is None:
        return None
    return Refusal(code, {"merged_into": state.merged_into} if state.merged_into else {})


NO_SUCH_ACCOUNT: Final = Refusal(ProblemCode.ACCOUNT_NOT_FOUND)
