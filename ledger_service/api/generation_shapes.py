"""Generations as the API shows them now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.api.generations import Failure, Flag, Flagged, Generation, Progress, Result
from contracts.jobs import Asset
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.failure_texts import failure_text, key_of_reason
from ledger_service.api.languages import Language
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.ids import split_owner
from ledger_service.errors import Rejected
from ledger_service.media.library import Link
from ledger_service.store.generation_reads import GenerationView, ProgressView


async def own_generation(
    call: Call, generation_id: str, *, even_deleted: bool = False
) -> GenerationView:
    """A generation of the caller's tenant. Raises `Rejected` (`generation_not_found`)."""
    view = await call.services.generations.reads.one(generation_id)
    if view is None or split_owner(view.state.owner)[0] != call.tenant:
        raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
    if view.state.deleted_at is not None and not even_deleted:
        raise Rejected(ProblemCode.GENERATION_NOT_FOUND)
    return view


async def shown_generation(call: Call, view: GenerationView) -> Generation:
    """As the API shows it, with fresh links to its assets while they are kept."""
    state, library = view.state, call.services.generations.library
    is_kept = state.media_removed_at is None and state.deleted_at is None
    results = [
        _result(asset, *[await library.link(key, call.base_url) for key in asset.keys])
        for asset in (state.assets if is_kept else ())
    ]
    return generation_of(view, tuple(results), call.language)


def generation_of(
    view: GenerationView, results: tuple[Result, ...], language: Language
) -> Generation:
    """The generation with its money and its assets; why it failed is told in `language`."""
    state, private = view.state, view.private or {}
    return Generation(
        generation_id=state.generation_id,
        account_id=state.account_id,
        model=state.model,
        status=state.status,
        input=private.get("input", {}),
        price=state.price,
        price_line=state.price_line,
        charged=state.price if state.debit_id else 0,
        refunded=view.refunded,
        debit_id=state.debit_id,
        refund_id=state.refund_id,
        quote_id=state.quote_id,
        reference=state.reference,
        metadata=private.get("metadata", {}),
        attempts=len(state.attempts),
        failure=_failure(state, view.ending_private, language),
        result=results[0] if results else None,
        results=results,
        cancel_requested_at=state.cancel_requested_at,
        media_removed_at=state.media_removed_at,
        created_at=state.created_at,
        updated_at=state.updated_at,
        finished_at=state.finished_at,
        theme=state.theme,
        progress=progress_of(view.progress) if view.progress else None,
        priority=state.priority,
        flagged=_flagged(state),
    )


def progress_of(seen: ProgressView) -> Progress:
    """What the provider said last."""
    return Progress(
        provider_status=seen.provider_status,
        queue_position=seen.queue_position,
        logs=seen.logs,
        seen_at=seen.seen_at,
    )


def flags_of(
    state: GenerationState, private: Mapping[str, dict[str, Any] | None]
) -> tuple[Flag, ...]:
    """What was reported, the newest first; `private` has the vault's entries by their digests."""
    return tuple(
        [
            Flag(
                flag_id=flag.flag_id,
                generation_id=state.generation_id,
                account_id=state.account_id,
                reason=flag.reason,
                text=(private.get(flag.private or "") or {}).get("text"),
                created_at=flag.created_at,
            )
            for flag in reversed(state.flags)
        ]
    )


def _flagged(state: GenerationState) -> Flagged | None:
    if not state.flags:
        return None
    reasons = dict.fromkeys(flag.reason for flag in state.flags)
    return Flagged(
        count=len(state.flags),
        reasons=tuple(reasons),
        first_at=state.flags[0].created_at,
        last_at=state.flags[-1].created_at,
    )


def _failure(
    state: GenerationState, private: dict[str, Any] | None, language: Language
) -> Failure | None:
    if state.ending is None:
        return None
    key = key_of_reason(state.ending.reason)
    return Failure(
        reason=state.ending.reason,
        message_key=key,
        message=failure_text(key, language, had_cost=state.price > 0),
        provider_message=(private or {}).get("message") or None,
        retryable=state.ending.retryable,
    )


def _result(asset: Asset, link: Link, thumbnail: Link | None = None) -> Result:
    return Result(
        url=link.url,
        content_type=asset.content_type,
        size_bytes=asset.size_bytes,
        sha256=asset.sha256,
        duration_seconds=asset.duration_seconds,
        width=asset.width,
        height=asset.height,
        expires_at=link.expires_at,
        thumbnail_url=thumbnail.url if thumbnail else None,
    )
