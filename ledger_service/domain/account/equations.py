"""The equations that hold at every command boundary.

L1  amount = remaining + spent + repaid + expired + voided + clawed_back + moved, 0 <= held <= remaining
L2  target = clawed_back + absorbed + owed + repaid' + forwarded, absorbed <= expired + voided, forwarded <= moved
A1  posted = remaining of all lots - debt, debt = overdraft + owed of all lots
A3  posted = granted + transferred_in - transferred_out + written_off
             - spent - expired - voided - clawed_back
"""  # noqa: E501 - the equations stand as one would write them

from __future__ import annotations

from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.errors import CorruptHistory


def check_equations(state: AccountState) -> None:
    """Raise `CorruptHistory` when a state breaks a law; for replay, tests and the sweep."""
    for lot in state.lots:
        _check_lot(lot)
    totals = state.totals
    came = totals.granted + totals.transferred_in + totals.written_off
    went = totals.transferred_out + totals.spent + totals.expired
    went += totals.voided + totals.clawed_back
    posted = state.posted
    if posted != came - went:
        raise CorruptHistory(f"A3 {state.owner}: posted {posted} != {came} - {went}")
    parts = (state.overdraft, state.owed, state.held_on_credit, state.credit_limit, state.held)
    if min(parts) < 0:
        raise CorruptHistory(f"A1 {state.owner}: a negative part")
    owed = sum([lot.owed for lot in state.lots]) + state.overflow.owed
    if state.owed != owed:
        raise CorruptHistory(f"A1 {state.owner}: owed {state.owed} != {owed}")


def _check_lot(lot: Lot) -> None:
    gone = lot.spent + lot.repaid + lot.expired + lot.voided + lot.clawed_back + lot.moved
    if lot.amount != lot.remaining + gone:
        raise CorruptHistory(f"L1 {lot.grant_id}: {lot.amount} != {lot.remaining} + {gone}")
    parts = (lot.spent, lot.repaid, lot.expired, lot.voided, lot.clawed_back, lot.moved)
    if min(parts) < 0 or not 0 <= lot.held <= lot.remaining:
        raise CorruptHistory(f"L1 {lot.grant_id}: a part out of bounds")
    _check_clawback(lot)


def _check_clawback(lot: Lot) -> None:
    if lot.clawback is None:
        if lot.clawed_back:
            raise CorruptHistory(f"L2 {lot.grant_id}: clawed back without a claim")
        return
    back = lot.clawback
    parts = (back.absorbed, back.owed, back.repaid, back.forwarded)
    if lot.target != lot.clawed_back + sum(parts):
        raise CorruptHistory(f"L2 {lot.grant_id}: {lot.target} != {lot.clawed_back} + {parts}")
    lost = lot.expired + lot.voided
    if min(parts) < 0 or back.absorbed > lost or back.forwarded > lot.moved:
        raise CorruptHistory(f"L2 {lot.grant_id}: a part out of bounds")
