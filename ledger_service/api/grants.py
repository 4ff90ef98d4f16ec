"""Grants: credits given or sold to an account, each a lot with its own terms."""

from litestar import Controller

from contracts.api.common import Page
from contracts.api.grants import Grant, GrantReply, GrantRequest
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.body import fault, in_utc
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import private_of
from ledger_service.api.orders import Order
from ledger_service.api.private import kept
from ledger_service.api.query import PageQuery, ReadQuery
from ledger_service.api.shapes import grant_of
from ledger_service.domain.commands import GrantCredits
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
    async def list_grants(self, call: Call, account_id: str, query: PageQuery) -> HttpReply:
        """The account's grants, newest first, spent and expired ones included."""
        await call.at_least(query.min_position)
        owner, cursors = call.owner(account_id), call.services.cursors
        before = cursors.read(query.cursor, LIST, owner) if query.cursor else None
        view = await call.services.reads.lots(owner, before, query.limit + 1)
        if view is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        grants = await _grants(call.services.reads, owner, view)
        page = grants[: query.limit]
        has_more = len(grants) > query.limit
        next_cursor = cursors.make(str(page[-1].grant_id), LIST, owner) if has_more else None
        return json_reply(Page(items=page, next_cursor=next_cursor))

    @get(
        "/{grant_id:str}",
        scope=Scope.READ,
        reply=Grant,
        summary="Read a grant",
        problems=(ProblemCode.GRANT_NOT_FOUND,),
    )
    async def read_grant(
        self, call: Call, account_id: str, grant_id: str, query: ReadQuery
    ) -> HttpReply:
        """One grant with what remains of it."""
        await call.at_least(query.min_position)
        owner = call.owner(account_id)
        if version_in("grt", grant_id, owner) is None:
            raise Rejected(ProblemCode.GRANT_NOT_FOUND)
        view = await call.services.reads.lot(owner, grant_id)
        if view is None or not view.lots:
            raise Rejected(ProblemCode.GRANT_NOT_FOUND)
        (grant,) = await _grants(call.services.reads, owner, view)
        return json_reply(grant)


def grant_order(call: Call, body: GrantRequest, account_id: str) -> Order:
    """A grant as the engine takes it."""
    command = GrantCredits(
        owner=_owner_to_be(call, account_id),
        key=call.key,
        amount=body.amount,
        source=body.source.value,
        effective_at=in_utc(body.effective_at, "/effective_at"),
        expires_at=in_utc(body.expires_at, "/expires_at"),
        priority=body.priority,
        unit_cost_micros=body.unit_cost_micros,
        currency=body.currency,
        restrict_to=body.restrict_to,
        reference=body.reference,
    )
    return Order(command, kept(metadata=body.metadata).private)


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
