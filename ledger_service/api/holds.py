"""Holds: credits set aside for a spend whose final size is not known yet."""

import enum
from datetime import timedelta

from litestar import Controller

from contracts.api.common import Instant, Page, Reference
from contracts.api.holds import (
    CaptureReply,
    CaptureRequest,
    ExtendRequest,
    Hold,
    HoldReply,
    HoldRequest,
    HoldStatus,
    ReleaseHoldsReply,
    ReleaseHoldsRequest,
    ReleaseRequest,
)
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.body import fault, in_utc
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.etags import tagged_reply
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.orders import Order
from ledger_service.api.past import PastPageQuery, PastQuery, moment_of
from ledger_service.api.private import kept
from ledger_service.api.shapes import hold_of
from ledger_service.domain.commands import (
    CaptureHold,
    ExtendHold,
    PlaceHold,
    ReleaseHold,
    ReleaseHolds,
)
from ledger_service.domain.events.holds import HoldAfter
from ledger_service.domain.ids import version_in
from ledger_service.errors import Rejected
from ledger_service.store.hold_reads import HoldFilter, HoldsPage
from ledger_service.store.past import Moment
from ledger_service.store.reads import Reads

LIST = "holds"
ON_ONE_HOLD = (
    ProblemCode.ACCOUNT_NOT_FOUND,
    ProblemCode.HOLD_NOT_FOUND,
    ProblemCode.HOLD_NOT_OPEN,
)


class AgeOrder(enum.StrEnum):
    """Which holds come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


class HoldsQuery(PastPageQuery, frozen=True, kw_only=True):
    """Which holds; `placed_before` and `order=oldest` find those that are open for long."""

    status: HoldStatus | None = None
    reference: Reference | None = None
    placed_before: Instant | None = None
    order: AgeOrder = AgeOrder.NEWEST


class HoldsController(Controller):
    """`/v1/accounts/{account_id}/holds`."""

    path = "/v1/accounts/{account_id:str}/holds"
    tags = ("Holds",)

    @post(
        scope=Scope.SPEND,
        reply=HoldReply,
        status=201,
        keyed=True,
        summary="Hold credits",
        problems=(
            ProblemCode.INSUFFICIENT_CREDITS,
            ProblemCode.SPEND_LIMIT_REACHED,
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.ACCOUNT_FROZEN,
            ProblemCode.ACCOUNT_CLOSED,
            ProblemCode.ACCOUNT_MERGED,
        ),
        example={"amount": 30, "ttl_seconds": 600, "reason": "render", "reference": "job-99"},
    )
    async def place_hold(self, call: Call, account_id: str, body: HoldRequest) -> HttpReply:
        """Set credits aside, as a debit would take them, until they are captured or released.

        A hold ends by itself after `ttl_seconds` (at most 7 days), and all of it is free again.
        """
        return await call.carry_out(hold_order(call, body, account_id))

    @get(
        scope=Scope.READ,
        reply=Page[Hold],
        summary="List holds",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_holds(self, call: Call, account_id: str, query: HoldsQuery) -> HttpReply:
        """The account's holds, newest first, ended ones included; or those that it had, as they
        were, with `at` or `at_position` (and then without filters).

        With filters a page may be short, even empty, while `next_cursor` leads on: one request
        looks at a bounded number of holds.
        """
        owner, cursors = call.owner(account_id), call.services.cursors
        moment = await moment_of(call, owner, query)
        wanted = _filter(query)
        of = (LIST, owner, query.at, query.at_position, wanted)
        behind = cursors.read(query.cursor, *of) if query.cursor else None
        if moment is None:
            page = await call.services.holds.page(owner, wanted, behind, query.limit)
        else:
            page = await _page_then(call.services.reads, owner, moment, behind, query.limit)
        if not page.holds and behind is None and await call.services.reads.account(owner) is None:
            raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)
        items = await _shown(call.services.reads, owner, page.holds)
        next_cursor = cursors.make(page.next_from, *of) if page.next_from else None
        return json_reply(Page(items=items, next_cursor=next_cursor))

    @get(
        "/{hold_id:str}",
        scope=Scope.READ,
        reply=Hold,
        summary="Read a hold",
        problems=(ProblemCode.HOLD_NOT_FOUND,),
    )
    async def read_hold(
        self, call: Call, account_id: str, hold_id: str, query: PastQuery
    ) -> HttpReply:
        """One hold as it stands; or as it stood, with `at` or `at_position`."""
        owner, reads = call.owner(account_id), call.services.reads
        moment = await moment_of(call, owner, query, ProblemCode.HOLD_NOT_FOUND)
        found = None
        if version_in("hld", hold_id, owner) is not None:
            if moment is None:
                found = await call.services.holds.one(owner, hold_id)
            else:
                found = await reads.past.hold(owner, moment, hold_id)
        if found is None:
            raise Rejected(ProblemCode.HOLD_NOT_FOUND)
        (hold,) = await _shown(reads, owner, [found])
        return tagged_reply(call, hold)

    @post(
        "/{hold_id:str}/capture",
        scope=Scope.SPEND,
        reply=CaptureReply,
        keyed=True,
        summary="Capture a hold",
        problems=(*ON_ONE_HOLD, ProblemCode.CAPTURE_EXCEEDS_HOLD),
        example={"amount": 20},
    )
    async def capture_hold(
        self, call: Call, account_id: str, hold_id: str, body: CaptureRequest
    ) -> HttpReply:
        """Spend held credits, all of them by default, and release the rest. Captured once.

        The debit has the reason, reference and metadata of the hold, and is refunded like any
        other. Held credits can be captured though they have expired meanwhile.
        """
        return await call.carry_out(capture_order(call, body, account_id, hold_id))

    @post(
        "/{hold_id:str}/release",
        scope=Scope.SPEND,
        reply=HoldReply,
        keyed=True,
        summary="Release a hold",
        problems=ON_ONE_HOLD,
        example={},
    )
    async def release_hold(
        self, call: Call, account_id: str, hold_id: str, body: ReleaseRequest
    ) -> HttpReply:
        """Free all that a hold holds."""
        return await call.carry_out(release_order(call, body, account_id, hold_id))

    @post(
        "/{hold_id:str}/extend",
        scope=Scope.SPEND,
        reply=HoldReply,
        keyed=True,
        summary="Extend a hold",
        problems=ON_ONE_HOLD,
        example={"ttl_seconds": 3600},
    )
    async def extend_hold(
        self, call: Call, account_id: str, hold_id: str, body: ExtendRequest
    ) -> HttpReply:
        """Let a hold last until `ttl_seconds` from now; it never ends earlier than before."""
        return await call.carry_out(extend_order(call, body, account_id, hold_id))

    @post(
        "/release",
        scope=Scope.SPEND,
        reply=ReleaseHoldsReply,
        keyed=True,
        summary="Release all holds with a reference",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
        example={"reference": "job-99", "reason": "job-was-lost"},
    )
    async def release_holds(
        self, call: Call, account_id: str, body: ReleaseHoldsRequest
    ) -> HttpReply:
        """Release the open holds that bear a reference, the oldest first, at most 1,000 at once.

        `has_more` asks for another call, under another key. None at all is fine.
        """
        return await call.carry_out(releases_order(call, body, account_id))


def hold_order(call: Call, body: HoldRequest, account_id: str) -> Order:
    """A hold as the engine takes it."""
    reason, private = kept(reason=body.reason, metadata=body.metadata)
    command = PlaceHold(
        owner=call.owner(account_id),
        key=call.key,
        amount=body.amount,
        ttl=None if body.ttl_seconds is None else timedelta(seconds=body.ttl_seconds),
        tags=body.tags,
        reason=reason,
        reference=body.reference,
        spender=call.identity.key_id,
    )
    return Order(command, private)


def capture_order(call: Call, body: CaptureRequest, account_id: str, hold_id: str) -> Order:
    """A capture as the engine takes it."""
    owner = call.owner(account_id)
    return Order(CaptureHold(owner=owner, key=call.key, hold_id=hold_id, amount=body.amount))


def release_order(call: Call, _: ReleaseRequest, account_id: str, hold_id: str) -> Order:
    """A release as the engine takes it."""
    return Order(ReleaseHold(owner=call.owner(account_id), key=call.key, hold_id=hold_id))


def extend_order(call: Call, body: ExtendRequest, account_id: str, hold_id: str) -> Order:
    """An extension as the engine takes it."""
    ttl = timedelta(seconds=body.ttl_seconds)
    owner = call.owner(account_id)
    return Order(ExtendHold(owner=owner, key=call.key, hold_id=hold_id, ttl=ttl))


def releases_order(call: Call, body: ReleaseHoldsRequest, account_id: str) -> Order:
    """The release of many holds as the engine takes it."""
    reason, private = kept(reason=body.reason)
    command = ReleaseHolds(
        owner=call.owner(account_id), key=call.key, reference=body.reference, reason=reason
    )
    return Order(command, private)


def _filter(query: HoldsQuery) -> HoldFilter:
    wanted = HoldFilter(
        status=query.status,
        reference=query.reference,
        placed_before=in_utc(query.placed_before, "?placed_before"),
        is_oldest_first=query.order is AgeOrder.OLDEST,
    )
    if wanted != HoldFilter() and (query.at or query.at_position) is not None:
        raise fault("?", "filters and order are for the holds of now")
    return wanted


async def _page_then(
    reads: Reads, owner: str, moment: Moment, behind: str | None, limit: int
) -> HoldsPage:
    found = await reads.past.holds(owner, moment, behind, limit + 1)
    page = found[:limit]
    return HoldsPage(page, page[-1].hold_id if len(found) > limit else None)


async def _shown(reads: Reads, owner: str, holds: list[HoldAfter]) -> tuple[Hold, ...]:
    """Holds with their words from the vault."""
    digests = [hold.private for hold in holds]
    private = await reads.private([(owner, digest) for digest in digests if digest])
    return tuple([hold_of(hold, private.get(hold.private or "")) for hold in holds])
