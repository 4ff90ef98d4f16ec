"""First answers to what an operator does to accounts, rendered from the event that bears the key.
See answers.py for what may never change here.
"""

from __future__ import annotations

from typing import Any

from ledger_service.api.answers import Bearer, outcome_v1, renders
from ledger_service.api.shapes import Private, reason_of
from ledger_service.domain.events.clawbacks import DebtWrittenOff
from ledger_service.domain.events.standing import AccountClosed, AccountFrozen, AccountUnfrozen
from ledger_service.domain.events.transfers import AccountMerged, CreditsTransferredOut
from ledger_service.domain.ids import split_owner


@renders(2, AccountFrozen)
@renders(2, AccountUnfrozen)
@renders(2, AccountClosed)
def _standing_v2(bearer: Bearer, _: Private | None) -> dict[str, Any]:
    return outcome_v1(bearer)


@renders(2, DebtWrittenOff)
def _written_off_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, DebtWrittenOff)
    write_off = {
        "amount": event.amount,
        "reason": reason_of(event.reason, private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"write_off": write_off}


@renders(2, CreditsTransferredOut)
def _transferred_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsTransferredOut)
    return _moved_v2(bearer, private, event.transfer_id, event.to_account, event.amount)


@renders(2, AccountMerged)
def _merged_v2(bearer: Bearer, private: Private | None) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, AccountMerged)
    return _moved_v2(bearer, private, event.transfer_id, event.merged_into, event.moved)


def _moved_v2(
    bearer: Bearer, private: Private | None, transfer_id: str, to_account: str, amount: int
) -> dict[str, Any]:
    event = bearer.event
    assert isinstance(event, CreditsTransferredOut | AccountMerged)
    transfer = {
        "transfer_id": transfer_id,
        "from_account_id": split_owner(bearer.owner)[1],
        "to_account_id": to_account,
        "amount": amount,
        "reason": reason_of(event.reason, private),
        "created_at": bearer.recorded_at,
    }
    return outcome_v1(bearer) | {"transfer": transfer}
