"""Accounts: open, change, read."""

from datetime import datetime

from litestar import Controller

from contracts.api.accounts import (
    Account,
    AccountReply,
    ChangeAccountRequest,
    OpenAccountRequest,
)
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, patch, post
from ledger_service.api.etags import is_known, not_modified, tagged_reply
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.orders import Order
from ledger_service.api.past import PastQuery, moment_of
from ledger_service.api.private import kept
from ledger_service.api.shapes import account_of
from ledger_service.domain.account.state import NEVER, AccountState
from ledger_service.domain.commands import ChangeCreditLimit, OpenAccount
from ledger_service.domain.ids import milliseconds_of
from ledger_service.errors import Rejected
from ledger_service.store.head_reader import AccountView


class AccountsController(Controller):
    """`/v1/accounts`."""

    path = "/v1/accounts"
    tags = ("Accounts",)

    @post(
        scope=Scope.ADMIN,
        reply=AccountReply,
        status=201,
        keyed=True,
        summary="Open an account",
        problems=(ProblemCode.ACCOUNT_EXISTS,),
        example={"account_id": "user-4711", "unit": "credit", "credit_limit": 0},
    )
    async def open_account(self, call: Call, body: OpenAccountRequest) -> HttpReply:
        """Open an account before its first grant would.

        `account_id` is yours to choose and must be opaque: never an e-mail address or a name.
        """
        command = OpenAccount(
            owner=call.owner(body.account_id),
            key=call.key,
            unit=body.unit,
            credit_limit=body.credit_limit,
        )
        return await call.carry_out(Order(command, kept(metadata=body.metadata).private))

    @patch(
        "/{account_id:str}",
        scope=Scope.ADMIN,
        reply=AccountReply,
        summary="Change an account",
        problems=(
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.ACCOUNT_MERGED,
            ProblemCode.OUTCOME_UNKNOWN,
        ),
        example={"credit_limit": 500},
    )
    async def change_account(
        self, call: Call, account_id: str, body: ChangeAccountRequest
    ) -> HttpReply:
        """Set how far the account may go below zero by spending.

        A limit below what is already used is allowed: then nothing more can be spent on it.
        Setting the same limit again is harmless, so no idempotency key is needed.
        """
        owner = call.owner(account_id)
        done = await call.submit(ChangeCreditLimit(owner=owner, credit_limit=body.credit_limit))
        assert isinstance(done.result, AccountState)
        assert done.position is not None
        assert done.recorded_at is not None
        account = account_of(done.result, done.position, done.recorded_at)
        return json_reply(
            AccountReply(position=done.position, recorded_at=done.recorded_at, account=account)
        )

    @get(
        "/{account_id:str}",
        scope=Scope.READ,
        reply=Account,
        summary="Read an account and its balance",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def read_account(self, call: Call, account_id: str, query: PastQuery) -> HttpReply:
        """The account as it stands now, however long its history; or as it was, with `at` or
        `at_position`, its balance as of that time.

        `posted`: unspent credits, held ones included, less debt. `available`: what a spend may
        take now. The answer carries an ETag; send it back as If-None-Match to get 304 while
        nothing has changed, expiry included.
        """
        owner, reads = call.owner(account_id), call.services.reads
        if moment := await moment_of(call, owner, query):
            then = await reads.past.account(owner, moment)
            return tagged_reply(call, account_of(then.state, then.position, then.now))
        view = await reads.account(owner)
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        etag = _etag(view)
        if is_known(call, etag):
            return not_modified(etag)
        return json_reply(
            account_of(view.state, view.position, view.now), headers=((b"etag", etag),)
        )


def _etag(view: AccountView) -> bytes:
    """Version and the next instant at which time alone changes the balance."""
    overflow = view.state.overflow
    instants: list[datetime] = [overflow.next_start_at, overflow.next_expiry_at]
    for lot in view.state.lots:
        instants += [lot.effective_at, lot.expires_at or lot.effective_at]
    changes = [milliseconds_of(at) for at in instants if view.now < at < NEVER]
    return b'"%d-%d"' % (view.state.version, min(changes, default=0))
