"""Asking for a generation: the price is debited in the same transaction."""

from __future__ import annotations

from datetime import datetime

from contracts.api.generations import GenerationStatus
from contracts.problems import ProblemCode
from ledger_service.domain.account.settle import need_of_lots, settle_first
from ledger_service.domain.account.spending import record_debit
from ledger_service.domain.account.standing import (
    NO_SUCH_ACCOUNT,
    Movement,
    refusal_by_status,
)
from ledger_service.domain.commands import Decline, RequestGeneration
from ledger_service.domain.draft import Draft
from ledger_service.domain.events.account import CommandAccepted, CreditsDebited
from ledger_service.domain.events.generation import GenerationRequested
from ledger_service.domain.finishing import finish
from ledger_service.domain.generation.caps import refusal_by_caps
from ledger_service.domain.generation.state import Job
from ledger_service.domain.ids import generation_stream, split_owner
from ledger_service.domain.world import Need, Outcome, Refusal, World


def decide_request(world: World, command: RequestGeneration, now: datetime) -> Outcome:
    """`CreditsDebited` (or `CommandAccepted` for a free model) with `GenerationRequested`."""
    if command.quote_ends_at is not None and now >= command.quote_ends_at:
        return Refusal(ProblemCode.QUOTE_EXPIRED, {"expired_at": command.quote_ends_at})
    account = world.accounts[command.owner]
    if account is None:
        return NO_SUCH_ACCOUNT
    if refusal := refusal_by_status(account, Movement.SPEND):
        return refusal
    if obstacle := refusal_by_caps(world, command.owner, now):
        return obstacle
    if need := need_of_lots(account, now):
        return need
    draft = Draft(world, command, now)
    settle_first(draft, command.owner)
    # One event carries the charge, so that the debit's and the generation's ids name it both.
    generation_id = draft.next_id("gen", command.owner)
    debit_id = draft.next_id("dbt", command.owner) if command.price else None
    if obstacle := _charge(draft, command, generation_id):
        return obstacle
    draft.answer_here()
    draft.count_begun()
    _begin(draft, command, generation_id, debit_id)
    return finish(draft, http_status=202)


def decide_decline(_: World, command: Decline, __: datetime) -> Outcome:
    """Nothing was done under the key, and nothing is done now."""
    return Refusal(command.code, command.fields)


def _charge(draft: Draft, command: RequestGeneration, generation_id: str) -> Refusal | Need | None:
    if command.price == 0:
        accepted = CommandAccepted(
            generation_id=generation_id,
            model=command.model,
            reference=command.reference,
            private=command.private,
            price_line=command.price_line,
            quote_id=command.quote_id,
            theme=command.theme,
            priority=command.priority,
        )
        draft.record(command.owner, accepted)
        return None
    wanted = CreditsDebited(
        debit_id="",
        amount=command.price,
        slices=(),
        reason="generation",
        tags=command.tags,
        reference=command.reference,
        generation_id=generation_id,
        model=command.model,
        private=command.private,
        price_line=command.price_line,
        quote_id=command.quote_id,
        theme=command.theme,
        priority=command.priority,
    )
    return record_debit(draft, command.owner, wanted, command.spender)


def _begin(
    draft: Draft, command: RequestGeneration, generation_id: str, debit_id: str | None
) -> None:
    assert command.private is not None, "the input lies in the vault"
    deadline = draft.now + command.deadline_after
    requested = GenerationRequested(
        generation_id=generation_id,
        account_id=split_owner(command.owner)[1],
        model=command.model,
        price=command.price,
        debit_id=debit_id,
        deadline=deadline,
        reference=command.reference,
        private=command.private,
        price_line=command.price_line,
        quote_id=command.quote_id,
        theme=command.theme,
        priority=command.priority,
    )
    stream = generation_stream(command.owner, generation_id)
    draft.record_generation(stream, command.owner, requested)
    draft.keep_job(
        Job(
            generation_id=generation_id,
            owner=command.owner,
            model=command.model,
            status=GenerationStatus.REQUESTED,
            created_at=draft.now,
            due_at=draft.now,
            deadline=deadline,
            priority=command.priority,
        )
    )
