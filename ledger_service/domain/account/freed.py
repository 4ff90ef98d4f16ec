"""Credits that became free again in the lots they belong to."""

from __future__ import annotations

from collections.abc import Iterable

from ledger_service.domain.account.lots import derived_lot
from ledger_service.domain.account.state import find_lot
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CreditsExpired, Slice
from ledger_service.domain.events.clawbacks import CreditsReclaimed, CreditsVoided


def settle_freed(draft: Draft, owner: str, freed: Iterable[Slice]) -> None:
    """What a clawback is owed of them goes there; what came back to a lot that is over lives on
    in a grace lot, or ends, by policy. The account must have been settled before."""
    rest = _reclaim(draft, owner, freed)
    state = draft.account(owner)
    assert state is not None
    expired: list[Slice] = []
    voided: list[Slice] = []
    for part in rest:
        lot = find_lot(state.lots, part.grant_id)
        assert lot is not None
        is_expired = lot.is_expired(draft.now)
        if not is_expired and not lot.is_voided:
            continue
        if draft.policy.grace:
            until = draft.now + draft.policy.grace
            draft.record(
                owner, derived_lot(draft, owner, lot, part.amount, kind="grace", expires_at=until)
            )
        else:
            (expired if is_expired else voided).append(part)
    if expired:
        draft.record(owner, CreditsExpired(amount=_sum(expired), slices=tuple(expired)))
    if voided:
        draft.record(owner, CreditsVoided(amount=_sum(voided), slices=tuple(voided)))


def _reclaim(draft: Draft, owner: str, freed: Iterable[Slice]) -> list[Slice]:
    state = draft.account(owner)
    assert state is not None
    reclaimed, rest = [], []
    for part in freed:
        lot = find_lot(state.lots, part.grant_id)
        assert lot is not None
        owed = min(part.amount, lot.owed)
        if owed:
            reclaimed.append(Slice(part.grant_id, owed))
        if part.amount > owed:
            rest.append(Slice(part.grant_id, part.amount - owed))
    if reclaimed:
        draft.record(owner, CreditsReclaimed(amount=_sum(reclaimed), slices=tuple(reclaimed)))
    return rest


def _sum(slices: list[Slice]) -> int:
    return sum([part.amount for part in slices])
