"""Forgettings: what workers ask providers to delete, and what became of it."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from litestar import Controller

from contracts.api.common import Instant
from contracts.api.keys import Scope
from contracts.forgetting import (
    Forgetting,
    ForgettingOutcome,
    ForgettingReply,
    ForgettingReport,
    ForgettingsReply,
    Unforgotten,
    UnforgottenReply,
)
from contracts.jobs import ClaimsRequest
from contracts.limits import PAGE_LIMIT_DEFAULT
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import PageLimit, Query
from ledger_service.errors import LedgerError
from ledger_service.store.forgettings import Due

WINDOW_DEFAULT: Final = timedelta(days=1)

log: Final = logging.getLogger(__name__)


class UnforgottenQuery(Query, frozen=True, kw_only=True):
    """Given up from `since` on (a day ago) and before `until` (now); the first `limit` of them."""

    since: Instant | None = None
    until: Instant | None = None
    limit: PageLimit = PAGE_LIMIT_DEFAULT


class ForgettingsController(Controller):
    """`/v1/work/forgettings`."""

    path = "/v1/work/forgettings"
    tags = ("Work",)

    @post(
        scope=Scope.WORK,
        reply=ForgettingsReply,
        summary="Claim what providers are to forget",
        example={"worker": "worker-1", "max": 10},
    )
    async def claim_forgettings(self, call: Call, body: ClaimsRequest) -> HttpReply:
        """Up to `max` generations that were deleted, or whose media were kept long enough, each
        with its requests at the provider. One that nobody reports on is handed out again later."""
        due = await call.services.generations.forgettings.claim(body.max)
        items = []
        for each in due:
            try:
                items += await _forgetting(call, each)
            except LedgerError as error:  # it must not take the others' tries with it
                log.warning("cannot tell what to forget of %s: %s", each.generation_id, error)
        return json_reply(ForgettingsReply(items=tuple(items)))

    @post(
        "/{generation_id:str}",
        scope=Scope.WORK,
        reply=ForgettingReply,
        summary="Report what a provider has forgotten",
        example={"fence": 1, "outcome": "forgotten"},
    )
    async def report_forgetting(
        self, call: Call, generation_id: str, body: ForgettingReport
    ) -> HttpReply:
        """How a try went. Repeats are harmless, and no credits depend on it."""
        forgettings = call.services.generations.forgettings
        due = Due(generation_id, body.fence)
        note = {
            ForgettingOutcome.FORGOTTEN: forgettings.note_forgotten,
            ForgettingOutcome.FAILED: forgettings.note_trouble,
            ForgettingOutcome.IMPOSSIBLE: forgettings.note_impossible,
        }[body.outcome]
        return json_reply(ForgettingReply(accepted=await note(due, body.reason)))

    @get(
        scope=Scope.WORK,
        reply=UnforgottenReply,
        summary="List what providers have not forgotten",
    )
    async def list_unforgotten(self, call: Call, query: UnforgottenQuery) -> HttpReply:
        """Generations of all tenants whose payloads stay at the provider: no try succeeded."""
        until = query.until or datetime.now(UTC)
        since = query.since or until - WINDOW_DEFAULT
        count, first = await call.services.generations.forgettings.given_up(
            since, until, query.limit
        )
        items = [
            Unforgotten(generation_id=one.generation_id, given_up_at=one.at, reason=one.reason)
            for one in first
        ]
        return json_reply(UnforgottenReply(count=count, items=tuple(items)))


async def _forgetting(call: Call, due: Due) -> list[Forgetting]:
    """What a worker is to know; nothing when the provider never had anything of it."""
    services = call.services.generations
    view = await services.reads.one(due.generation_id)
    assert view is not None, "the log knows it"
    request_ids = [a.request_id for a in view.state.attempts if a.request_id is not None]
    if not request_ids:
        await services.forgettings.note_forgotten(due, "nothing_there")
        return []
    provider = services.catalogue.offer(view.state.model).provider
    return [
        Forgetting(
            generation_id=due.generation_id,
            fence=due.fence,
            provider=provider,
            request_ids=tuple(request_ids),
        )
    ]
