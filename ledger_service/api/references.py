"""What bears a reference: the trail of one business fact through all accounts of a tenant."""

from litestar import Controller

from contracts.api.common import Page
from contracts.api.keys import Scope
from contracts.api.traces import Bearer, BearerType
from contracts.limits import REFERENCE_MAX_CHARACTERS
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import page_of
from ledger_service.api.query import PageQuery
from ledger_service.domain.ids import split_owner
from ledger_service.store.trails import BEYOND_ALL, Borne, Place

LIST = "references"


class ReferencesController(Controller):
    """`/v1/references`."""

    path = "/v1/references"
    tags = ("Log",)

    @get(
        "/{reference:path}",
        scope=Scope.READ,
        reply=Page[Bearer],
        summary="Follow a reference",
    )
    async def list_bearers(self, call: Call, reference: str, query: PageQuery) -> HttpReply:
        """Everything in the tenant that bears the reference, newest first: grants (those of
        schedules included), debits, holds, generations, clawbacks and schedules.

        A reference that nothing bears has an empty list. Percent-encode what it has of `/`, `?`
        and the like.
        """
        await call.at_least(query.min_position)
        if len(reference) > REFERENCE_MAX_CHARACTERS or "\x00" in reference:
            return json_reply(page_of((), None))  # nothing was ever told under such a name
        of, cursors = (LIST, call.tenant, reference), call.services.cursors
        before = _place(cursors.read(query.cursor, *of)) if query.cursor else BEYOND_ALL
        trails = call.services.reads.trails
        found, end = await trails.page(call.tenant, reference, before, query.limit)
        next_cursor = cursors.make(f"{end.position}.{end.ordinal}", *of) if end else None
        return json_reply(page_of([_bearer(borne) for borne in found], next_cursor))


def _place(text: str) -> Place:
    position, _, ordinal = text.partition(".")
    return Place(int(position), int(ordinal))


def _bearer(borne: Borne) -> Bearer:
    return Bearer(
        account_id=split_owner(borne.owner)[1],
        type=BearerType(borne.kind),
        id=borne.id,
        position=borne.place.position,
        recorded_at=borne.recorded_at,
        amount=borne.amount,
    )
