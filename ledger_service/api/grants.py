"""Grants: credits given or sold to an account, each a lot with its own terms."""

import msgspec
from litestar import Controller

from contracts.api.common import Page
from contracts.api.grants import (
    ClawbackRequest,
    Grant,
    GrantExpiryRequest,
    GrantReply,
    GrantRequest,
    VoidRequest,
)
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.body import fault, in_utc
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.etags import tagged_reply
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import private_of
from ledger_service.api.orders import Order
from ledger_service.api.past import PastPageQuery, PastQuery, lot_then, lots_then, moment_of
from ledger_service.api.private import kept
from ledger_service.api.shapes import grant_of
from ledger_service.domain.commands import ChangeGrantExpiry, ClawBack, GrantCredits, VoidGrant
from ledger_service.domain.ids import version_in
from ledger_service.errors import Rejected
from ledger_service.store.reads import LotsView, Reads

LIST = "grants"


class GrantsController(Controller):
    """`/v1/accounts/{account_id}/grants`."""

    path = "/v1/accounts/{account_id:str}/grants"
    tags = ("Grants",)

    @post(
        scope=Scope.GRANT,
        reply=GrantReply,
        status=201,
        keyed=True,
        summary="Grant credits",
        problems=(ProblemCode.ACCOUNT_CLOSED, ProblemCode.LIMIT_REACHED),
        example={
            "amount": 500,
            "source": "purchase",
            "expires_at": "2030-01-01T00:00:00Z",
            "unit_cost_micros": 8000,
            "currency": "EUR",
            "reference": "order-1234",
            "metadata": {"campaign": "spring"},
        },
    )
    async def grant_credits(self, call: Call, account_id: str, body: GrantRequest) -> HttpReply:
        """Give or sell credits. The first grant opens the account.

        Lots burn in the order of `priority` (lower first), then the soonest to expire. Credits
        with `restrict_to` pay only for spends that carry one of these tags. A grant first repays
        debt that the account may have.
        """
        return await call.carry_out(grant_order(call, body, account_id))

    @get(
        scope=Scope.READ,
        reply=Page[Grant],
        summary="List grants",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_grants(self, call: Call, account_id: str, query: PastPageQuery) -> HttpReply:
        """The account's grants, newest first, spent and expired ones included; or those that it
        had, as they were, with `at` or `at_position`."""
        owner, cursors = call.owner(account_id), call.services.cursors
        moment = await moment_of(call, owner, query)
        of = (LIST, owner, query.at, query.at_position)
        before = cursors.read(query.cursor, *of) if query.cursor else None
        view = await lots_then(call.services.reads, owner, moment, before, query.limit + 1)
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        grants = await _grants(call.services.reads, owner, view)
        page = grants[: query.limit]
        has_more = len(grants) > query.limit
        next_cursor = cursors.make(str(page[-1].grant_id), *of) if has_more else None
        return json_reply(Page(items=page, next_cursor=next_cursor))

    @get(
        "/{grant_id:str}",
        scope=Scope.READ,
        reply=Grant,
        summary="Read a grant",
        problems=(ProblemCode.GRANT_NOT_FOUND,),
    )
    async def read_grant(
        self, call: Call, account_id: str, grant_id: str, query: PastQuery
    ) -> HttpReply:
        """One grant with what remains of it; or what did, with `at` or `at_position`."""
        owner, reads = call.owner(account_id), call.services.reads
        moment = await moment_of(call, owner, query, ProblemCode.GRANT_NOT_FOUND)
        view = await lot_then(reads, owner, grant_id, moment)
        (grant,) = await _grants(reads, owner, view)
        return tagged_reply(call, grant)

    @post(
        "/{grant_id:str}/clawback",
        scope=Scope.GRANT,
        reply=GrantReply,
        keyed=True,
        summary="Claw a grant back",
        problems=(
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.GRANT_NOT_FOUND,
            ProblemCode.GRANT_DERIVED,
            ProblemCode.LIMIT_REACHED,
        ),
        example={
            "reference": "chargeback-77",
            "as_of": "2030-01-05T12:00:00Z",
            "fraction_millis": 1000,
            "reason": "store-refund",
        },
    )
    async def claw_back(
        self, call: Call, account_id: str, grant_id: str, body: ClawbackRequest
    ) -> HttpReply:
        """A store took the money back: set how much of a grant is to be taken back in all.

        Each `reference` has a target, and the newest `as_of` counts; a smaller target than before
        is a reversal. Unspent credits are taken, credits that moved to other accounts are
        followed, and what was spent becomes debt. Only grants from outside can be clawed back:
        `grant_derived` names the `origin` of any other.
        """
        return await call.carry_out(clawback_order(call, body, account_id, grant_id))

    @post(
        "/{grant_id:str}/void",
        scope=Scope.GRANT,
        reply=GrantReply,
        keyed=True,
        summary="Void a grant",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND, ProblemCode.GRANT_NOT_FOUND),
        example={"reason": "issued-by-mistake"},
    )
    async def void_grant(
        self, call: Call, account_id: str, grant_id: str, body: VoidRequest
    ) -> HttpReply:
        """End what is free of a grant now; what comes back to it later ends as well.

        Held credits of it can still be captured, and what was spent stays spent.
        """
        return await call.carry_out(void_order(call, body, account_id, grant_id))

    @post(
        "/{grant_id:str}/expiry",
        scope=Scope.GRANT,
        reply=GrantReply,
        keyed=True,
        summary="Change when a grant expires",
        problems=(
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.GRANT_NOT_FOUND,
            ProblemCode.GRANT_ENDED,
        ),
        example={"expires_at": "2031-01-01T00:00:00Z", "reason": "extended-by-support"},
    )
    async def change_grant_expiry(
        self, call: Call, account_id: str, grant_id: str, body: GrantExpiryRequest
    ) -> HttpReply:
        """Let a grant end later, sooner, or never (null), as long as it has not ended yet.

        Its place in the burn order follows. What has expired stays expired.
        """
        return await call.carry_out(expiry_order(call, body, account_id, grant_id))


def grant_order(call: Call, body: GrantRequest, account_id: str) -> Order:
    """A grant as the engine takes it."""
    expires_at = None if body.expires_at is msgspec.UNSET else body.expires_at
    command = GrantCredits(
        owner=_owner_to_be(call, account_id),
        key=call.key,
        amount=body.amount,
        source=body.source.value,
        effective_at=in_utc(body.effective_at, "/effective_at"),
        expires_at=in_utc(expires_at, "/expires_at"),
        is_expiry_open=body.expires_at is msgspec.UNSET,
        priority=body.priority,
        unit_cost_micros=body.unit_cost_micros,
        currency=body.currency,
        restrict_to=body.restrict_to,
        reference=body.reference,
    )
    return Order(command, kept(metadata=body.metadata).private)


def clawback_order(call: Call, body: ClawbackRequest, account_id: str, grant_id: str) -> Order:
    """A clawback as the engine takes it."""
    if (body.amount is None) == (body.fraction_millis is None):
        raise fault("", "give either amount or fraction_millis")
    as_of = in_utc(body.as_of, "/as_of")
    assert as_of is not None
    reason, private = kept(reason=body.reason)
    command = ClawBack(
        owner=call.owner(account_id),
        key=call.key,
        grant_id=grant_id,
        reference=body.reference,
        as_of=as_of,
        amount=body.amount,
        fraction_millis=body.fraction_millis,
        reason=reason,
    )
    return Order(command, private)


def void_order(call: Call, body: VoidRequest, account_id: str, grant_id: str) -> Order:
    """The end of a grant as the engine takes it."""
    reason, private = kept(reason=body.reason)
    command = VoidGrant(
        owner=call.owner(account_id), key=call.key, grant_id=grant_id, reason=reason
    )
    return Order(command, private)


def expiry_order(call: Call, body: GrantExpiryRequest, account_id: str, grant_id: str) -> Order:
    """Another end of a grant as the engine takes it."""
    reason, private = kept(reason=body.reason)
    command = ChangeGrantExpiry(
        owner=call.owner(account_id),
        key=call.key,
        grant_id=grant_id,
        expires_at=in_utc(body.expires_at, "/expires_at"),
        reason=reason,
    )
    return Order(command, private)


def _owner_to_be(call: Call, account_id: str) -> str:
    """The grant may open the account, so an impossible id is a fault and not a missing thing."""
    try:
        return call.owner(account_id)
    except Rejected:
        raise fault("", "an account id has 1 to 128 of A-Z a-z 0-9 _ - . :") from None


async def _grants(reads: Reads, owner: str, view: LotsView) -> tuple[Grant, ...]:
    """Lots with what only the events that made them know."""
    versions = {lot.grant_id: version_in("grt", lot.grant_id, owner) or 0 for lot in view.lots}
    events = await reads.events_at(owner, list(versions.values()))
    private = await private_of(reads, events.values())
    return tuple(
        grant_of(lot, made_by, private[made_by.version], view.now)
        for lot in view.lots
        for made_by in (events[versions[lot.grant_id]],)
    )
