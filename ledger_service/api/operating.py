"""What an operator does to accounts: adjustments, write-offs, transfers, freezing and closing."""

from litestar import Controller

from contracts.api.accounts import AccountReply, AccountStatus
from contracts.api.keys import Scope
from contracts.api.operating import (
    Adjusting,
    AdjustmentReply,
    AdjustmentRequest,
    StandingRequest,
    TransferReply,
    TransferRequest,
    WriteOffReply,
    WriteOffRequest,
)
from contracts.limits import PRIORITY_DEFAULT
from contracts.problems import ProblemCode
from ledger_service.api.body import fault
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.http_reply import HttpReply
from ledger_service.api.orders import Order
from ledger_service.api.private import kept
from ledger_service.domain.commands import (
    ChangeStanding,
    DebitCredits,
    GrantCredits,
    TransferCredits,
    WriteOffDebt,
)

ON_STANDING = (
    ProblemCode.ACCOUNT_NOT_FOUND,
    ProblemCode.ACCOUNT_CLOSED,
    ProblemCode.ACCOUNT_MERGED,
)
WHY = {"reason": "chargeback-review"}


class OperatingController(Controller):
    """`/v1/accounts/{account_id}/…`, for operators."""

    path = "/v1/accounts/{account_id:str}"
    tags = ("Operating",)

    @post(
        "/adjustments",
        scope=Scope.ADMIN,
        reply=AdjustmentReply,
        status=201,
        keyed=True,
        summary="Adjust a balance",
        problems=(
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.ACCOUNT_FROZEN,
            ProblemCode.ACCOUNT_CLOSED,
            ProblemCode.ACCOUNT_MERGED,
            ProblemCode.INSUFFICIENT_CREDITS,
            ProblemCode.LIMIT_REACHED,
        ),
        example={"amount": 50, "direction": "credit", "reason": "goodwill"},
    )
    async def adjust(self, call: Call, account_id: str, body: AdjustmentRequest) -> HttpReply:
        """Give or take credits by hand, with a reason, on an account that exists.

        It is a grant or a debit like any other (and its id is that one's), except that a debit
        counts towards no spend limit.
        """
        return await call.carry_out(adjustment_order(call, body, account_id))

    @post(
        "/write-offs",
        scope=Scope.ADMIN,
        reply=WriteOffReply,
        status=201,
        keyed=True,
        summary="Write debt off",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND, ProblemCode.NO_DEBT),
        example={"amount": 50, "reason": "uncollectible"},
    )
    async def write_off(self, call: Call, account_id: str, body: WriteOffRequest) -> HttpReply:
        """Forgive debt: overdraft first, then what clawbacks left open; never more than is owed."""
        return await call.carry_out(write_off_order(call, body, account_id))

    @post(
        "/freeze",
        scope=Scope.ADMIN,
        reply=AccountReply,
        keyed=True,
        summary="Freeze an account",
        problems=ON_STANDING,
        example=WHY,
    )
    async def freeze_account(self, call: Call, account_id: str, body: StandingRequest) -> HttpReply:
        """Let nothing be spent; grants, refunds, releases and captures go on."""
        return await call.carry_out(freeze_order(call, body, account_id))

    @post(
        "/unfreeze",
        scope=Scope.ADMIN,
        reply=AccountReply,
        keyed=True,
        summary="Unfreeze an account",
        problems=ON_STANDING,
        example=WHY,
    )
    async def unfreeze_account(
        self, call: Call, account_id: str, body: StandingRequest
    ) -> HttpReply:
        """Let credits be spent again."""
        return await call.carry_out(unfreeze_order(call, body, account_id))

    @post(
        "/close",
        scope=Scope.ADMIN,
        reply=AccountReply,
        keyed=True,
        summary="Close an account",
        problems=ON_STANDING,
        example=WHY,
    )
    async def close_account(self, call: Call, account_id: str, body: StandingRequest) -> HttpReply:
        """Let nothing be spent or granted any more; recurring grants end. This is for good.

        What was begun comes to its end: refunds, releases, captures, expiry, clawbacks.
        """
        return await call.carry_out(close_order(call, body, account_id))


class TransfersController(Controller):
    """`/v1/transfers`."""

    path = "/v1/transfers"
    tags = ("Operating",)

    @post(
        scope=Scope.ADMIN,
        reply=TransferReply,
        status=201,
        keyed=True,
        summary="Transfer credits or merge accounts",
        problems=(
            ProblemCode.SAME_ACCOUNT,
            ProblemCode.INSUFFICIENT_CREDITS,
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.ACCOUNT_FROZEN,
            ProblemCode.ACCOUNT_CLOSED,
            ProblemCode.ACCOUNT_MERGED,
            ProblemCode.UNIT_MISMATCH,
            ProblemCode.LIMIT_REACHED,
        ),
        example={
            "from_account_id": "user-4711",
            "to_account_id": "user-4712",
            "amount": 100,
            "reason": "team-change",
        },
    )
    async def transfer_credits(self, call: Call, body: TransferRequest) -> HttpReply:
        """Move free credits to another account; each grant arrives as one with the same terms.

        `"all"` moves what can be moved. With `merge` all free credits and all debt move, and
        the first account passes on to the second whatever comes to it later: refunds, released
        holds, grants, clawbacks. The idempotency key is the first account's.
        """
        return await call.carry_out(transfer_order(call, body))


def adjustment_order(call: Call, body: AdjustmentRequest, account_id: str) -> Order:
    """An adjustment as the engine takes it."""
    owner = call.owner(account_id)
    reason, private = kept(reason=body.reason)
    if body.direction is Adjusting.DEBIT:
        debit = DebitCredits(
            owner=owner, key=call.key, amount=body.amount, reason=reason, is_adjustment=True
        )
        return Order(debit, private)
    grant = GrantCredits(
        owner=owner,
        key=call.key,
        amount=body.amount,
        source="adjustment",
        priority=PRIORITY_DEFAULT,
        reason=reason,
        is_adjustment=True,
    )
    return Order(grant, private)


def write_off_order(call: Call, body: WriteOffRequest, account_id: str) -> Order:
    """A write-off as the engine takes it."""
    reason, private = kept(reason=body.reason)
    command = WriteOffDebt(
        owner=call.owner(account_id), key=call.key, amount=body.amount, reason=reason
    )
    return Order(command, private)


def transfer_order(call: Call, body: TransferRequest) -> Order:
    """A transfer as the engine takes it."""
    if body.merge and body.amount != "all":
        raise fault("/amount", 'a merge moves "all"')
    reason, private = kept(reason=body.reason)
    command = TransferCredits(
        owner=call.owner(body.from_account_id),
        key=call.key,
        to_owner=call.owner(body.to_account_id),
        amount=None if body.amount == "all" else body.amount,
        is_merge=body.merge,
        reason=reason,
    )
    return Order(command, private)


def freeze_order(call: Call, body: StandingRequest, account_id: str) -> Order:
    """A freeze as the engine takes it."""
    return _standing_order(call, body, account_id, AccountStatus.FROZEN)


def unfreeze_order(call: Call, body: StandingRequest, account_id: str) -> Order:
    """The end of a freeze as the engine takes it."""
    return _standing_order(call, body, account_id, AccountStatus.ACTIVE)


def close_order(call: Call, body: StandingRequest, account_id: str) -> Order:
    """A closing as the engine takes it."""
    return _standing_order(call, body, account_id, AccountStatus.CLOSED)


def _standing_order(
    call: Call, body: StandingRequest, account_id: str, status: AccountStatus
) -> Order:
    reason, private = kept(reason=body.reason)
    command = ChangeStanding(
        owner=call.owner(account_id), key=call.key, status=status, reason=reason
    )
    return Order(command, private)
