"""What an entry tells of its event besides amount and balances."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from contracts.api.common import LotAmount
from ledger_service.domain.account.terms import Schedule, SpendLimit
from ledger_service.domain.events import account, clawbacks, holds, standing, transfers
from ledger_service.domain.events.account import AccountEvent, Slice

SHOWN: Final[dict[type[AccountEvent], str]] = {
    account.AccountOpened: "unit credit_limit",
    account.CreditLimitChanged: "credit_limit",
    account.CreditsGranted: "grant_id source repaid expires_at schedule_id=schedule period reason",
    account.CreditsDebited: "debit_id lots=slices on_credit reason generation_id model",
    account.DebitRefunded: (
        "refund_id debit_id lots=slices debt_cancelled restored refunded=amount reason"
        " generation_id"
    ),
    account.LotDerived: "grant_id kind origin from_account_id=from_account transfer_id repaid",
    account.CreditsExpired: "lots=slices",
    account.CommandAccepted: "generation_id model",
    account.CommandVoided: "",
    holds.HoldPlaced: (
        "hold_id=hold.hold_id expires_at=hold.expires_at lots=slices on_credit reason"
    ),
    holds.HoldCaptured: (
        "hold_id=hold.hold_id debit_id lots=slices on_credit freed freed_on_credit reason"
    ),
    holds.HoldReleased: "hold_id=hold.hold_id freed freed_on_credit reason",
    holds.HoldExpired: "hold_id=hold.hold_id freed freed_on_credit reason",
    holds.HoldExtended: "hold_id=hold.hold_id expires_at=hold.expires_at reason",
    holds.HoldsReleased: "holds freed freed_on_credit has_more reason",
    clawbacks.GrantClawedBack: (
        "grant_id as_of claim target taken=clawed_back absorbed owed repaid forwarded reinstated"
        " stale=is_stale reason"
    ),
    clawbacks.CreditsReclaimed: "lots=slices",
    clawbacks.GrantVoided: "grant_id reason",
    clawbacks.GrantExpiryChanged: "grant_id expires_at reason",
    clawbacks.CreditsVoided: "lots=slices",
    clawbacks.DebtWrittenOff: "owed reason",
    transfers.CreditsTransferredOut: (
        "transfer_id to_account_id=to_account lots=slices derived merge=is_merge onward=is_onward"
        " reason"
    ),
    transfers.DebtForwarded: "to_account_id=to_account owed",
    transfers.DebtAssumed: "from_account_id=from_account",
    transfers.AccountMerged: "merged_into transfer_id moved reason",
    standing.AccountFrozen: "reason",
    standing.AccountUnfrozen: "reason",
    standing.AccountClosed: "reason",
    standing.SchedulesSet: "schedules",
    standing.ThresholdsSet: (
        "low_balance=thresholds.low_balance"
        " expiry_notice_seconds=thresholds.expiry_notice_seconds below"
    ),
    standing.ThresholdCrossed: "level below=is_below available",
    standing.ExpiryComing: "lots=slices first_at",
    standing.LimitsSet: "limits",
}
"""Names as entries show them; `shown=attribute` where the event calls it otherwise."""

_Getter = Callable[[AccountEvent], Any]


def _getters(shown: str) -> dict[str, _Getter]:
    pairs = [name.partition("=") for name in shown.split() if name != "reason"]
    return {name: attrgetter(attribute or name) for name, _, attribute in pairs}


_GETTERS: Final = {kind: _getters(shown) for kind, shown in SHOWN.items()}
_REASONED: Final = {kind for kind, shown in SHOWN.items() if "reason" in shown.split()}


def details_of(event: AccountEvent, reason: str | None) -> dict[str, Any]:
    """The event's own facts; `reason` comes from the event or the vault."""
    kind = type(event)
    details = {name: _value(name, get(event)) for name, get in _GETTERS[kind].items()}
    return details | {"reason": reason} if kind in _REASONED else details


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    return [_item(name, item) for item in value]


def _item(name: str, item: Any) -> Any:
    match item:
        case Slice() if name == "holds":
            return {"hold_id": item.grant_id, "amount": item.amount}
        case Slice():
            return LotAmount(grant_id=item.grant_id, amount=item.amount)
        case Schedule():
            return item.schedule_id
        case SpendLimit():
            return item.limit_id
    return item
