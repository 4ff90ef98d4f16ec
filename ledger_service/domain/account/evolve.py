"""What each account event means for the state. Sees neither the clock nor policy."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.evolvers import debts, holds, money, standing
from ledger_service.domain.account.evolvers.lots import GIVEN_BY, Evolver
from ledger_service.domain.account.state import AccountState
from ledger_service.domain.events.account import AccountEvent, AccountOpened, LotDerived
from ledger_service.domain.events.clawbacks import (
    GrantClawedBack,
    GrantExpiryChanged,
    GrantVoided,
)

_EVOLVERS: Final[dict[type[AccountEvent], Evolver]] = {
    **money.EVOLVERS,
    **holds.EVOLVERS,
    **debts.EVOLVERS,
    **standing.EVOLVERS,
}


def evolve(
    state: AccountState | None, event: AccountEvent, version: int, recorded_at: datetime
) -> AccountState:
    """The state after `event`, which was recorded as `version` of the stream."""
    if isinstance(event, AccountOpened):
        assert state is None, "an account opens once"
        return _opened(event, version, recorded_at)
    assert state is not None, "an account opens before anything else happens on it"
    assert version == state.version + 1, (version, state.version)
    changes = _EVOLVERS[type(event)](state, event)
    return replace(state, version=version, recorded_at=recorded_at, **changes)


def touched_lots(event: AccountEvent) -> tuple[str, ...]:
    """Ids of existing lots that must be loaded before the event can be folded."""
    if isinstance(event, GrantClawedBack | GrantVoided | GrantExpiryChanged):
        return (event.grant_id,)
    touched = [part.grant_id for field in GIVEN_BY for part in getattr(event, field, ())]
    if isinstance(event, LotDerived) and event.origin is not None and event.from_account is None:
        touched.append(event.origin)
    return tuple(touched)


def _opened(event: AccountOpened, version: int, recorded_at: datetime) -> AccountState:
    return AccountState(
        tenant=event.tenant,
        account_id=event.account_id,
        unit=event.unit,
        status=AccountStatus.ACTIVE,
        opened_at=recorded_at,
        version=version,
        recorded_at=recorded_at,
        credit_limit=event.credit_limit,
    )
