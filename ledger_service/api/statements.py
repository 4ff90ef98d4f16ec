"""An account's history as its holder reads it: entries, and answers to earlier commands."""

from typing import Annotated

import msgspec
from litestar import Controller

from contracts.api.commands import CommandOutcome
from contracts.api.common import Instant, Page, Reference
from contracts.api.keys import Scope
from contracts.api.log import Entry
from contracts.problems import ProblemCode
from ledger_service.api.body import in_utc
from ledger_service.api.call import Call
from ledger_service.api.endpoint import fingerprint_of, get, key_of, post
from ledger_service.api.headers import readable_key
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.lists import history_page, page_of, private_of
from ledger_service.api.orders import Order
from ledger_service.api.query import PageQuery
from ledger_service.api.replies import answer_in, render
from ledger_service.api.shapes import entry_of
from ledger_service.domain.commands import VoidCommand
from ledger_service.domain.events import TOPICS
from ledger_service.domain.events.account import AccountEvent
from ledger_service.errors import Rejected
from ledger_service.store.history import HistoryFilter

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class EntriesQuery(PageQuery, frozen=True, kw_only=True, rename={"since": "from", "until": "to"}):
    """`type` as entries name it, `from` (inclusive) and `to` (exclusive) by `recorded_at`."""

    type: Name | None = None
    since: Instant | None = None
    until: Instant | None = None
    reference: Reference | None = None
    actor: Name | None = None


class StatementsController(Controller):
    """`/v1/accounts/{account_id}/entries` and `…/commands`."""

    path = "/v1/accounts/{account_id:str}"
    tags = ("Accounts",)

    @get(
        "/entries",
        scope=Scope.READ,
        reply=Page[Entry],
        summary="Read the statement",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND,),
    )
    async def list_entries(self, call: Call, account_id: str, query: EntriesQuery) -> HttpReply:
        """Everything that ever happened on the account, newest first, with running balances.

        It is as fresh as the log: what was written is there at once. The amounts, each with the
        sign of its `direction`, add up to `posted_after`.
        """
        wanted = HistoryFilter(
            topics=_topics(query.type) if query.type else None,
            since=in_utc(query.since, "?from"),
            until=in_utc(query.until, "?to"),
            actor=query.actor,
            reference=query.reference,
        )
        events, next_cursor = await history_page(call, account_id, query, wanted)
        private = await private_of(call.services.reads, events)
        entries = [entry_of(event, private[event.version]) for event in events]
        return json_reply(page_of(entries, next_cursor))

    @get(
        "/commands/{key:str}",
        scope=Scope.READ,
        reply=CommandOutcome,
        summary="Look a command up",
        problems=(ProblemCode.COMMAND_NOT_FOUND,),
    )
    async def read_command(self, call: Call, account_id: str, key: str) -> HttpReply:
        """The first answer to a command, by its idempotency key, status and body alike.

        404 says that it has not taken effect so far: retry with the same key.
        """
        owner = call.owner(account_id)
        reads = call.services.reads
        sought = key_of(readable_key(key.encode()))
        stored = await reads.event_by_key(owner, sought)
        if stored is None:
            raise Rejected(ProblemCode.COMMAND_NOT_FOUND)
        body = render(stored, await call.kept_for(stored))
        return HttpReply(body, answer_in(stored).http_status)

    @post(
        "/commands/{key:str}/void",
        scope=(Scope.SPEND, Scope.GRANT, Scope.REFUND, Scope.ADMIN),
        reply=CommandOutcome,
        summary="Void a command",
        problems=(ProblemCode.ACCOUNT_NOT_FOUND, ProblemCode.OUTCOME_UNKNOWN),
    )
    async def void_command(self, call: Call, account_id: str, key: str) -> HttpReply:
        """Learn for certain whether a command took effect, and make sure that it will not later.

        If it did, this is its first answer again. If not, its key is void from here on: the
        command itself, should it still arrive, is refused with `command_voided`. Repeating this
        is harmless; to look without voiding, read the command.
        """
        call.key = key_of(readable_key(key.encode()))
        path = f"/v1/accounts/{account_id}/commands/{call.key.text}/void"
        call.fingerprint = fingerprint_of("POST", path, None)
        return await call.carry_out(Order(VoidCommand(owner=call.owner(account_id), key=call.key)))


def _topics(entry_type: str) -> tuple[str, ...]:
    """All versions of the account events that entries call by this name."""
    return tuple(
        topic
        for topic, event_type in TOPICS.items()
        if issubclass(event_type, AccountEvent) and topic.partition(".")[0] == entry_type
    )
