"""Credits that became free again in the lots they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ledger_service.domain.account.lots import derived_lot
from ledger_service.domain.account.settle import need_of_lots
from ledger_service.domain.account.state import AccountState, Lot, find_lot
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CreditsExpired, Slice
from ledger_service.domain.events.clawbacks import CreditsReclaimed, CreditsVoided
from ledger_service.domain.world import Need, one


def need_to_free(
    state: AccountState, slices: Sequence[Slice], now: datetime, *, adds_lot: bool = False
) -> Need | None:
    """What must be loaded before credits come back to these lots.

    A lot that is over, owes or has nothing left changes its place among all live lots, or makes
    a new one; the others are at hand if the head holds them.
    """
    if need := need_of_lots(state, now, adds_lot=adds_lot):
        return need
    lots = [find_lot(state.lots, part.grant_id) for part in slices]
    if state.overflow.count and not all(lot and _is_plain(lot, now) for lot in lots):
        return one("all_lots", state.owner)
    missing = [
        (state.owner, part.grant_id) for part, lot in zip(slices, lots, strict=True) if lot is None
    ]
    return one("lots", *missing) if missing else None


def _is_plain(lot: Lot, now: datetime) -> bool:
    return lot.remaining > 0 and not (lot.is_expired(now) or lot.is_voided or lot.owed)


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
