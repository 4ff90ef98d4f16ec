"""What a worker needs to know of a step that was claimed."""

from __future__ import annotations

from typing import Any

from contracts.jobs import Claim, ClaimedAttempt, Step
from ledger_service.domain.generation.state import Attempt, Claimed, GenerationState
from ledger_service.generations.catalogue import Catalogue
from ledger_service.signing import Signer

WEBHOOK_PURPOSE = "webhook"


class ClaimBuilder:
    """Turns a claimed step into the message that the worker gets."""

    def __init__(self, catalogue: Catalogue, signer: Signer, webhook_base_url: str) -> None:
        self._catalogue = catalogue
        self._signer = signer
        self._webhook_base_url = webhook_base_url.rstrip("/")

    def build(self, claimed: Claimed, content: dict[str, Any]) -> Claim:
        """`content` is the generation's input as it came out of the vault."""
        state, job = claimed.state, claimed.job
        attempt = state.live_attempt
        assert attempt is not None
        assert job.lease_until is not None
        offer = self._catalogue.offer(state.model)
        return Claim(
            generation_id=state.generation_id,
            fence=job.fence_text,
            lease_until=job.lease_until,
            step=claimed.step,
            attempt=ClaimedAttempt(
                attempt_id=attempt.attempt_id,
                number=attempt.number,
                started_at=attempt.started_at,
                request_id=attempt.request_id,
                urls=attempt.urls,
            ),
            model=state.model,
            provider=offer.provider,
            endpoint=offer.endpoint,
            output=offer.model.kind,
            input=_as_priced(state, content),
            # Ours alone and unguessable enough; nothing that a caller chose stands in a path.
            asset_key=f"{state.generation_id}/{attempt.attempt_id}",
            cancel_requested=state.wants_cancel,
            fetches=job.fetches,
            post_before=attempt.post_before if claimed.step is Step.SUBMIT else None,
            webhook_url=self._webhook_url(offer.provider, state.generation_id, attempt),
            priority=state.priority,
        )

    def _webhook_url(self, provider: str, generation_id: str, attempt: Attempt) -> str | None:
        if not self._webhook_base_url:
            return None
        token = self._signer.sign(WEBHOOK_PURPOSE, generation_id, attempt.number)
        path = f"/v1/webhooks/{provider}/{generation_id}/{attempt.number}/{token}"
        return self._webhook_base_url + path


def _as_priced(state: GenerationState, content: dict[str, Any]) -> dict[str, Any]:
    """The input with the options that decided its price: the provider's defaults may change."""
    if state.price_line is None or not content:
        return content
    return {**state.price_line.options, **content}
