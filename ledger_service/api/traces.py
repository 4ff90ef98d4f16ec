"""Where a grant's credits went: the funding trace from the side of the grant."""

from litestar import Controller

from contracts.api.common import Page
from contracts.api.grants import GrantKind
from contracts.api.keys import Scope
from contracts.api.traces import DerivedGrant, GrantDebit
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import page_of
from ledger_service.api.past import lot_then
from ledger_service.api.query import PageQuery
from ledger_service.domain.account.state import Lot
from ledger_service.domain.bearings import uses_of
from ledger_service.domain.events.account import CreditsDebited
from ledger_service.domain.events.holds import HoldCaptured
from ledger_service.domain.ids import split_owner
from ledger_service.store.history import BEFORE_ALL
from ledger_service.store.stored import StoredEvent


class GrantTracesController(Controller):
    """`/v1/accounts/{account_id}/grants/{grant_id}/debits` and `…/derived`."""

    path = "/v1/accounts/{account_id:str}/grants/{grant_id:str}"
    tags = ("Grants",)

    @get(
        "/debits",
        scope=Scope.READ,
        reply=Page[GrantDebit],
        summary="List the debits that a grant paid for",
        problems=(ProblemCode.GRANT_NOT_FOUND,),
    )
    async def list_grant_debits(
        self, call: Call, account_id: str, grant_id: str, query: PageQuery
    ) -> HttpReply:
        """The debits that took credits from the grant, newest first. From the other side, a
        debit's `lots` name the grants that paid for it."""
        await call.at_least(query.min_position)
        owner, reads, cursors = call.owner(account_id), call.services.reads, call.services.cursors
        await lot_then(reads, owner, grant_id)
        of = ("grant debits", owner, grant_id)
        before = int(cursors.read(query.cursor, *of)) if query.cursor else BEFORE_ALL
        page = await reads.history.debits_of_lot(owner, grant_id, before, query.limit)
        debits = [_grant_debit(stored, grant_id) for stored in page.events]
        next_cursor = cursors.make(str(page.next_before), *of) if page.next_before else None
        return json_reply(page_of(debits, next_cursor))

    @get(
        "/derived",
        scope=Scope.READ,
        reply=Page[DerivedGrant],
        summary="List the grants derived from a grant",
        problems=(ProblemCode.GRANT_NOT_FOUND,),
    )
    async def list_derived_grants(
        self, call: Call, account_id: str, grant_id: str, query: PageQuery
    ) -> HttpReply:
        """The grants in which credits of this one live on, here or on other accounts, newest
        first. Each has this one as its `origin`."""
        await call.at_least(query.min_position)
        owner, reads, cursors = call.owner(account_id), call.services.reads, call.services.cursors
        await lot_then(reads, owner, grant_id)
        of = ("derived grants", owner, grant_id)
        before = cursors.read(query.cursor, *of) if query.cursor else None
        found = await reads.derived_lots(owner, grant_id, before, query.limit + 1)
        derived = [_derived_grant(whose, lot) for whose, lot in found[: query.limit]]
        has_more = len(found) > query.limit
        next_cursor = cursors.make(derived[-1].grant_id, *of) if has_more else None
        return json_reply(page_of(derived, next_cursor))


def _grant_debit(stored: StoredEvent, grant_id: str) -> GrantDebit:
    event = stored.event
    assert isinstance(event, CreditsDebited | HoldCaptured)
    (amount,) = [part.amount for part in uses_of(event) if part.grant_id == grant_id]
    return GrantDebit(debit_id=event.debit_id, amount=amount, at=stored.recorded_at)


def _derived_grant(owner: str, lot: Lot) -> DerivedGrant:
    return DerivedGrant(
        account_id=split_owner(owner)[1],
        grant_id=lot.grant_id,
        kind=GrantKind(lot.kind),
        amount=lot.amount,
    )
