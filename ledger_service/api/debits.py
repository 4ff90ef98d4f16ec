"""Debits: credits spent; refunds: credits of a debit given back."""

from litestar import Controller

from contracts.api.common import Page
from contracts.api.debits import (
    Debit,
    DebitReply,
    DebitRequest,
    Refund,
    RefundReply,
    RefundRequest,
)
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.etags import tagged_reply
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import history_page, page_of, private_of
from ledger_service.api.orders import Order
from ledger_service.api.private import kept
from ledger_service.api.query import PageQuery, ReadQuery
from ledger_service.api.shapes import debit_of, refund_of
from ledger_service.domain.commands import DebitCredits, RefundDebit
from ledger_service.domain.events.account import DebitRefunded
from ledger_service.domain.ids import version_in
from ledger_service.domain.world import Debiting
from ledger_service.errors import Rejected
from ledger_service.store.history import HistoryFilter
from ledger_service.store.reads import Reads
from ledger_service.store.stored import StoredEvent

ALL_DEBITS = HistoryFilter(topics=("credits_debited.v1", "hold_captured.v1"))
ALL_REFUNDS = HistoryFilter(topics=("debit_refunded.v1",))


class DebitsController(Controller):
    """`/v1/accounts/{account_id}/debits`."""

    path = "/v1/accounts/{account_id:str}/debits"
    tags = ("Debits",)

    @post(
        scope=Scope.SPEND,
        reply=DebitReply,
        status=201,
        keyed=True,
        summary="Spend credits",
        problems=(
            ProblemCode.INSUFFICIENT_CREDITS,
            ProblemCode.SPEND_LIMIT_REACHED,
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.ACCOUNT_FROZEN,
            ProblemCode.ACCOUNT_CLOSED,
            ProblemCode.ACCOUNT_MERGED,
        ),
        example={"amount": 30, "reason": "image-upscale", "reference": "job-99"},
    )
    async def debit_credits(self, call: Call, account_id: str, body: DebitRequest) -> HttpReply:
        """Spend credits, or learn exactly how many are missing.

        `lots` says which grants paid; what they do not cover came from the credit limit. `tags`
        say what is bought: credits that are restricted pay only where a tag matches.
        """
        return await call.carry_out(debit_order(call, body, account_id))

    @get(
        scope=Scope.READ,
        reply=Page[Debit],
        summary="List debits",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_debits(self, call: Call, account_id: str, query: PageQuery) -> HttpReply:
        """The account's debits, newest first, those of generations and captured holds included."""
        events, next_cursor = await history_page(call, account_id, query, ALL_DEBITS)
        debits = await _debits(call.services.reads, call.owner(account_id), events)
        return json_reply(page_of(debits, next_cursor))

    @get(
        "/{debit_id:str}",
        scope=Scope.READ,
        reply=Debit,
        summary="Read a debit",
        problems=(ProblemCode.DEBIT_NOT_FOUND,),
    )
    async def read_debit(
        self, call: Call, account_id: str, debit_id: str, query: ReadQuery
    ) -> HttpReply:
        """One debit, and how much of it was refunded so far."""
        await call.at_least(query.min_position)
        owner = call.owner(account_id)
        stored = await _located(call.services.reads, owner, "dbt", debit_id)
        if stored is None or not isinstance(stored.event, Debiting):
            raise Rejected(ProblemCode.DEBIT_NOT_FOUND)
        if stored.event.debit_id != debit_id:
            raise Rejected(ProblemCode.DEBIT_NOT_FOUND)
        (debit,) = await _debits(call.services.reads, owner, [stored])
        return tagged_reply(call, debit)

    @post(
        "/{debit_id:str}/refunds",
        scope=Scope.REFUND,
        reply=RefundReply,
        status=201,
        keyed=True,
        summary="Refund a debit",
        problems=(
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.DEBIT_NOT_FOUND,
            ProblemCode.REFUND_EXCEEDS_DEBIT,
        ),
        example={"amount": 10, "reason": "customer-care"},
    )
    async def refund_debit(
        self, call: Call, account_id: str, debit_id: str, body: RefundRequest
    ) -> HttpReply:
        """Give credits of one debit back to the grants they came from, in reverse order.

        Without `amount`: all that is left of it. All refunds of a debit together never exceed it.
        """
        return await call.carry_out(refund_order(call, body, account_id, debit_id))


class RefundsController(Controller):
    """`/v1/accounts/{account_id}/refunds`."""

    path = "/v1/accounts/{account_id:str}/refunds"
    tags = ("Debits",)

    @get(
        scope=Scope.READ,
        reply=Page[Refund],
        summary="List refunds",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_refunds(self, call: Call, account_id: str, query: PageQuery) -> HttpReply:
        """The account's refunds, newest first, those of failed generations included."""
        events, next_cursor = await history_page(call, account_id, query, ALL_REFUNDS)
        private = await private_of(call.services.reads, events)
        refunds = [refund_of(event, private[event.version]) for event in events]
        return json_reply(page_of(refunds, next_cursor))

    @get(
        "/{refund_id:str}",
        scope=Scope.READ,
        reply=Refund,
        summary="Read a refund",
        problems=(ProblemCode.REFUND_NOT_FOUND,),
    )
    async def read_refund(
        self, call: Call, account_id: str, refund_id: str, query: ReadQuery
    ) -> HttpReply:
        """One refund with the grants that the credits went back to."""
        await call.at_least(query.min_position)
        stored = await _located(call.services.reads, call.owner(account_id), "rfd", refund_id)
        if stored is None or not isinstance(stored.event, DebitRefunded):
            raise Rejected(ProblemCode.REFUND_NOT_FOUND)
        if stored.event.refund_id != refund_id:
            raise Rejected(ProblemCode.REFUND_NOT_FOUND)
        private = await private_of(call.services.reads, [stored])
        return tagged_reply(call, refund_of(stored, private[stored.version]))


def debit_order(call: Call, body: DebitRequest, account_id: str) -> Order:
    """A spend as the engine takes it."""
    reason, private = kept(reason=body.reason, metadata=body.metadata)
    command = DebitCredits(
        owner=call.owner(account_id),
        key=call.key,
        amount=body.amount,
        tags=body.tags,
        reason=reason,
        reference=body.reference,
        spender=call.identity.key_id,
    )
    return Order(command, private)


def refund_order(call: Call, body: RefundRequest, account_id: str, debit_id: str) -> Order:
    """A refund as the engine takes it."""
    reason, private = kept(reason=body.reason)
    command = RefundDebit(
        owner=call.owner(account_id),
        key=call.key,
        debit_id=debit_id,
        amount=body.amount,
        reason=reason,
    )
    return Order(command, private)


async def _located(reads: Reads, owner: str, prefix: str, text: str) -> StoredEvent | None:
    """The event of this account that an id names by its version."""
    version = version_in(prefix, text, owner)
    return None if version is None else (await reads.events_at(owner, [version])).get(version)


async def _debits(reads: Reads, owner: str, events: list[StoredEvent]) -> list[Debit]:
    debits = {
        stored.event.debit_id: stored for stored in events if isinstance(stored.event, Debiting)
    }
    refunded = await reads.refunded(owner, list(debits))
    private = await private_of(reads, events)
    return [
        debit_of(stored, refunded.get(debit_id, 0), private[stored.version])
        for debit_id, stored in debits.items()
    ]
