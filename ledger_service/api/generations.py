"""Generations: request, read, list."""

from typing import Annotated, Any

import msgspec
from litestar import Controller

from contracts.api.common import AccountId, Instant, Page
from contracts.api.generations import (
    Generation,
    GenerationReply,
    GenerationRequest,
    GenerationStatus,
)
from contracts.api.keys import Scope
from contracts.jobs import JobPriority
from contracts.limits import ID_MAX_CHARACTERS
from contracts.moderation import Inquiry
from contracts.problems import ProblemCode
from ledger_service.api.auth import permit
from ledger_service.api.body import fault, in_utc
from ledger_service.api.call import Call
from ledger_service.api.endpoint import delete, get, post
from ledger_service.api.failure_texts import CONTENT_REFUSED, CONTENT_REFUSED_KEY
from ledger_service.api.generation_shapes import own_generation, shown_generation
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.query import PageQuery, ReadQuery
from ledger_service.domain.commands import (
    CancelGeneration,
    Command,
    Decline,
    DeleteGeneration,
    GenerationCommand,
    RequestGeneration,
)
from ledger_service.domain.events.account import CommandAccepted, CreditsDebited
from ledger_service.errors import Rejected
from ledger_service.generations.catalogue import deadline_of
from ledger_service.generations.themes import Wish
from ledger_service.store.generation_reads import GenerationFilter, GenerationView


class GenerationsQuery(
    PageQuery, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}
):
    """Whose generations, and which of them: `from` (inclusive) and `to` (exclusive) by
    `created_at`; `flagged`: only those that were reported."""

    account_id: AccountId | None = None
    status: Annotated[GenerationStatus | None, msgspec.Meta(description="only these")] = None
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_MAX_CHARACTERS)] | None = None
    since: Instant | None = None
    until: Instant | None = None
    flagged: bool = False


class GenerationsController(Controller):
    """`/v1/generations`."""

    path = "/v1/generations"
    tags = ("Generations",)

    @post(
        scope=Scope.SPEND,
        reply=GenerationReply,
        status=202,
        keyed=True,
        summary="Ask for a generation",
        problems=(
            ProblemCode.INSUFFICIENT_CREDITS,
            ProblemCode.SPEND_LIMIT_REACHED,
            ProblemCode.ACCOUNT_NOT_FOUND,
            ProblemCode.MODEL_NOT_FOUND,
            ProblemCode.THEME_NOT_FOUND,
            ProblemCode.MODEL_UNAVAILABLE,
            ProblemCode.ACCOUNT_FROZEN,
            ProblemCode.ACCOUNT_CLOSED,
            ProblemCode.ACCOUNT_MERGED,
            ProblemCode.QUOTE_NOT_FOUND,
            ProblemCode.QUOTE_EXPIRED,
            ProblemCode.LIMIT_REACHED,
            ProblemCode.CONTENT_REFUSED,
            ProblemCode.MODERATION_UNAVAILABLE,
        ),
        example={
            "account_id": "user-4711",
            "model": "veo-3.1-lite",
            "input": {"prompt": "a lighthouse in a storm, slow aerial shot"},
        },
    )
    async def request_generation(self, call: Call, body: GenerationRequest) -> HttpReply:
        """Debit the price and begin the generation, in one transaction; with a quote, its price.

        It ends as `succeeded` with a stored asset, or as `failed`, `cancelled` or `expired` with
        the credits given back, once and by itself. Read it to follow its progress.
        """
        services = call.services.generations
        private: dict[str, Any] | None = None
        command: Command
        try:
            wish = services.themes.wish(body)
            command = await _ordered(call, body, wish)
            await _moderated(call, body, wish)
            private = {"input": wish.content, "metadata": body.metadata}
        except Rejected as refusal:
            # Offers, prices, quotes and what is allowed change; what was answered under the key
            # does not.
            command = _declined(call, body, refusal)
        done = await call.submit(command, private)
        assert done.answer is not None
        event = done.answer.event
        assert isinstance(event, CreditsDebited | CommandAccepted)
        assert event.generation_id is not None
        if not done.is_replay:
            # What may wait is rung by the clockwork, once nothing else is due.
            if not call.is_dry_run and event.priority is JobPriority.NORMAL:
                services.doorbell.ring(event.generation_id)
            return await call.render(done, private)
        view = await services.reads.one(event.generation_id)
        assert view is not None
        now = (b"generation-status", view.state.status.encode())
        return await call.render(done, private, headers=(now,))

    @get(
        "/{generation_id:str}",
        scope=Scope.READ,
        reply=Generation,
        translated=True,
        summary="Read a generation",
        problems=(ProblemCode.GENERATION_NOT_FOUND,),
    )
    async def read_generation(self, call: Call, generation_id: str, query: ReadQuery) -> HttpReply:
        """The generation as it stands now. `result.url` is made afresh by each read."""
        await call.at_least(query.min_position)
        return json_reply(await shown_generation(call, await own_generation(call, generation_id)))

    @post(
        "/{generation_id:str}/cancel",
        scope=Scope.SPEND,
        reply=Generation,
        status=202,
        translated=True,
        summary="Cancel a generation",
        problems=(
            ProblemCode.GENERATION_NOT_FOUND,
            ProblemCode.ALREADY_FINISHED,
            ProblemCode.OUTCOME_UNKNOWN,
        ),
    )
    async def cancel_generation(self, call: Call, generation_id: str) -> HttpReply:
        """Ask for it not to be made. Repeating is harmless.

        What no provider has yet is `cancelled` at once and its credits are back. Else the provider
        is asked to stop, and its verdict decides: a result that comes all the same is delivered
        and paid for.
        """
        view = await _done(call, CancelGeneration, generation_id)
        return json_reply(await shown_generation(call, view), 202)

    @delete(
        "/{generation_id:str}",
        scope=Scope.SPEND,
        reply=Generation,
        translated=True,
        summary="Delete a generation",
        problems=(ProblemCode.GENERATION_NOT_FOUND, ProblemCode.OUTCOME_UNKNOWN),
    )
    async def delete_generation(self, call: Call, generation_id: str) -> HttpReply:
        """Show it no more and remove its result. Repeating is harmless.

        What it cost stays on the account's statement. One that is under way is cancelled first,
        and settled as any other: what comes back, comes back.
        """
        view = await _done(call, DeleteGeneration, generation_id)
        return json_reply(await shown_generation(call, view))

    @get(
        scope=Scope.READ,
        reply=Page[Generation],
        translated=True,
        summary="List generations",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_generations(self, call: Call, query: GenerationsQuery) -> HttpReply:
        """Those of an account, newest first. Operators (scope `admin`) may leave the account out to
        see what was reported of the whole tenant's, with `flagged=true`."""
        await call.at_least(query.min_position)
        wanted = _wanted(call, query)
        cursors, of = call.services.cursors, ("generations", wanted)
        before = cursors.read(query.cursor, *of) if query.cursor else None
        views = await call.services.generations.reads.page(wanted, before, query.limit + 1)
        if not views and before is None:
            await _expect_account(call, wanted.owner)
        items = [await shown_generation(call, view) for view in views[: query.limit]]
        more = len(views) > query.limit
        last = views[query.limit - 1].state.generation_id if more else None
        return json_reply(
            Page(items=tuple(items), next_cursor=cursors.make(last, *of) if last else None)
        )


def _wanted(call: Call, query: GenerationsQuery) -> GenerationFilter:
    owner = None
    if query.account_id is not None:
        owner = call.owner(query.account_id)
    elif query.flagged:
        permit(call.identity, (Scope.ADMIN,))
    else:
        raise fault("?account_id", "is needed, unless flagged=true")
    return GenerationFilter(
        tenant=call.tenant,
        owner=owner,
        status=query.status,
        model=query.model,
        since=in_utc(query.since, "?from"),
        until=in_utc(query.until, "?to"),
        flagged=query.flagged,
    )


async def _expect_account(call: Call, owner: str | None) -> None:
    """An account that does not exist is told from one without generations."""
    if owner is not None and await call.services.reads.account(owner) is None:
        raise Rejected(ProblemCode.ACCOUNT_NOT_FOUND)


async def _done(call: Call, kind: type[GenerationCommand], generation_id: str) -> GenerationView:
    """The generation after a command of its owner; a worker is told."""
    before = await own_generation(call, generation_id, even_deleted=True)
    await call.submit(kind(owner=before.state.owner, generation_id=generation_id))
    call.services.generations.doorbell.ring(generation_id)
    return await own_generation(call, generation_id, even_deleted=True)


async def _ordered(call: Call, body: GenerationRequest, wish: Wish) -> RequestGeneration:
    services = call.services.generations
    switches = await services.switchboard.of(call.tenant)
    offer = services.catalogue.orderable(wish.model, wish.content, switches)
    if body.quote_id is None:
        line, ends_at = offer.price(wish.content), None
    else:
        promise = services.quotes.read(body.quote_id, call.tenant, wish.model, wish.content)
        line, ends_at = promise.line, promise.ends_at
    return RequestGeneration(
        owner=call.owner(body.account_id),
        key=call.key,
        model=wish.model,
        price=line.total,
        price_line=line,
        quote_id=body.quote_id,
        quote_ends_at=ends_at,
        theme=wish.theme,
        priority=body.priority,
        tags=offer.tags,
        deadline_after=deadline_of(offer),
        reference=body.reference,
        spender=call.identity.key_id,
    )


async def _moderated(call: Call, body: GenerationRequest, wish: Wish) -> None:
    """Ask the operator's hook, if there is one. Raises `Rejected` for what it does not let pass."""
    moderator, owner = call.services.generations.moderator, call.owner(body.account_id)
    if moderator is None:
        return
    assert call.key is not None
    if not call.is_dry_run and await call.services.reads.event_by_key(owner, call.key):
        return  # it was answered before, and the same answer comes again
    inquiry = Inquiry(
        tenant=call.tenant,
        account_id=body.account_id,
        model=wish.model,
        input=wish.content,
        theme=wish.theme,
        dry_run=call.is_dry_run,
    )
    try:
        await moderator.judge(inquiry)
    except Rejected as refusal:
        if refusal.code is ProblemCode.CONTENT_REFUSED:
            told = CONTENT_REFUSED.told_in(call.language)
            refusal.fields |= {"message_key": CONTENT_REFUSED_KEY, "message": told}
        raise


def _declined(call: Call, body: GenerationRequest, refusal: Rejected) -> Decline:
    fields = dict(refusal.fields)
    if refusal.errors:
        fields["errors"] = [msgspec.structs.asdict(error) for error in refusal.errors]
    return Decline(
        owner=call.owner(body.account_id), key=call.key, code=refusal.code, fields=fields
    )
