"""Clawbacks, voids, debt forgiven or gone elsewhere, and transfers."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from contracts.api.accounts import AccountStatus
from ledger_service.domain.account.evolvers.lots import Evolver, changed, repaid, total
from ledger_service.domain.account.state import NO_CLAWBACK, AccountState, Claim, Lot, burn_key
from ledger_service.domain.account.terms import Thresholds
from ledger_service.domain.events.account import AccountEvent, Slice
from ledger_service.domain.events.clawbacks import (
    CreditsReclaimed,
    CreditsVoided,
    DebtWrittenOff,
    GrantClawedBack,
    GrantExpiryChanged,
    GrantVoided,
)
from ledger_service.domain.events.transfers import (
    AccountMerged,
    CreditsTransferredOut,
    DebtAssumed,
    DebtForwarded,
)


def _clawed_back(state: AccountState, event: GrantClawedBack) -> dict[str, Any]:
    if event.is_stale:
        return {}
    claim = Claim(event.reference, event.as_of, event.claim)
    taken = 0

    def claw_back(lot: Lot, _: int) -> Lot:
        nonlocal taken
        before = lot.clawback or NO_CLAWBACK
        others = [known for known in before.claims if known.reference != event.reference]
        taken = event.clawed_back - lot.clawed_back
        clawback = replace(
            before,
            claims=(*others, claim),
            absorbed=event.absorbed,
            owed=event.owed,
            repaid=event.repaid,
            forwarded=event.forwarded,
        )
        return replace(
            lot,
            clawed_back=event.clawed_back,
            remaining=lot.remaining - taken,
            clawback=clawback,
        )

    lots = changed(state.lots, (Slice(event.grant_id, 0),), claw_back)
    owed = state.owed - sum([lot.owed for lot in state.lots]) + sum([lot.owed for lot in lots])
    lost = taken + owed - state.owed
    return {
        "lots": lots,
        "owed": owed,
        "totals": replace(state.totals, clawed_back=state.totals.clawed_back + lost),
    }


def _reclaimed(state: AccountState, event: CreditsReclaimed) -> dict[str, Any]:
    def reclaim(lot: Lot, amount: int) -> Lot:
        assert lot.clawback is not None
        return replace(
            lot,
            remaining=lot.remaining - amount,
            clawed_back=lot.clawed_back + amount,
            clawback=replace(lot.clawback, owed=lot.clawback.owed - amount),
        )

    return {
        "lots": changed(state.lots, event.slices, reclaim),
        "owed": state.owed - event.amount,
    }


def _voided(state: AccountState, event: GrantVoided) -> dict[str, Any]:
    def void(lot: Lot, amount: int) -> Lot:
        return replace(
            lot, remaining=lot.remaining - amount, voided=lot.voided + amount, is_voided=True
        )

    return {
        "lots": changed(state.lots, (Slice(event.grant_id, event.amount),), void),
        "totals": replace(state.totals, voided=state.totals.voided + event.amount),
    }


def _expiry_changed(state: AccountState, event: GrantExpiryChanged) -> dict[str, Any]:
    def set_end(lot: Lot, _: int) -> Lot:
        return replace(lot, expires_at=event.expires_at, is_announced=False)

    lots = changed(state.lots, (Slice(event.grant_id, 0),), set_end)
    return {"lots": tuple(sorted(lots, key=burn_key))}


def _voided_later(state: AccountState, event: CreditsVoided) -> dict[str, Any]:
    def void(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, voided=lot.voided + amount)

    return {
        "lots": changed(state.lots, event.slices, void),
        "totals": replace(state.totals, voided=state.totals.voided + event.amount),
    }


def _less_debt(state: AccountState, amount: int, owed: tuple[Slice, ...]) -> dict[str, Any]:
    """Debt of lots and overdraft that nothing here has to be paid for any more."""
    of_lots = total(owed)
    return {
        "lots": repaid(state.lots, owed),
        "owed": state.owed - of_lots,
        "overdraft": state.overdraft - (amount - of_lots),
    }


def _written_off(state: AccountState, event: DebtWrittenOff) -> dict[str, Any]:
    totals = replace(state.totals, written_off=state.totals.written_off + event.amount)
    return _less_debt(state, event.amount, event.owed) | {"totals": totals}


def _debt_forwarded(state: AccountState, event: DebtForwarded) -> dict[str, Any]:
    totals = replace(state.totals, transferred_in=state.totals.transferred_in + event.amount)
    return _less_debt(state, event.amount, event.owed) | {"totals": totals}


def _debt_assumed(state: AccountState, event: DebtAssumed) -> dict[str, Any]:
    totals = replace(state.totals, transferred_out=state.totals.transferred_out + event.amount)
    return {"overdraft": state.overdraft + event.amount, "totals": totals}


def _transferred_out(state: AccountState, event: CreditsTransferredOut) -> dict[str, Any]:
    def move(lot: Lot, amount: int) -> Lot:
        return replace(lot, remaining=lot.remaining - amount, moved=lot.moved + amount)

    totals = replace(state.totals, transferred_out=state.totals.transferred_out + event.amount)
    return {"lots": changed(state.lots, event.slices, move), "totals": totals}


def _merged(state: AccountState, event: AccountMerged) -> dict[str, Any]:
    return {
        "status": AccountStatus.MERGED,
        "merged_into": event.merged_into,
        "credit_limit": 0,
        # It has no balance of its own any more that could be watched or bounded.
        "terms": replace(state.terms, thresholds=Thresholds(), below=(), limits=()),
    }


EVOLVERS: Final[dict[type[AccountEvent], Evolver]] = {
    GrantClawedBack: _clawed_back,
    CreditsReclaimed: _reclaimed,
    GrantVoided: _voided,
    GrantExpiryChanged: _expiry_changed,
    CreditsVoided: _voided_later,
    DebtWrittenOff: _written_off,
    DebtForwarded: _debt_forwarded,
    DebtAssumed: _debt_assumed,
    CreditsTransferredOut: _transferred_out,
    AccountMerged: _merged,
}
