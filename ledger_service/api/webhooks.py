"""The provider's webhooks: hints that something happened. Polling alone works without them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller

from contracts.api.common import Reply
from contracts.limits import WEBHOOK_BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.headers import Headers
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.services import Services
from ledger_service.domain.commands import HintGeneration
from ledger_service.errors import Rejected, Unavailable
from ledger_service.generations.claiming import WEBHOOK_PURPOSE
from ledger_service.generations.webhook_signatures import REQUEST_ID_HEADER, Verdict

ACTOR: Final = "provider:fal"


class FalWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """What fal posts, as far as a hint needs it."""

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    payload: Any = None


class Noted(Reply, frozen=True, kw_only=True):
    """The hint was taken."""

    noted: bool


def _judge_token(services: Services, path: Mapping[str, Any]) -> None:
    """Only addresses that we gave away ourselves exist."""
    parts = (path["generation_id"], path["attempt"])
    if not services.generations.signer.is_genuine(path["token"], WEBHOOK_PURPOSE, *parts):
        services.webhooks_seen["unknown_address"] += 1
        raise Rejected(ProblemCode.NOT_FOUND)


async def _judge_signature(services: Services, headers: Headers, raw: bytes) -> Verdict:
    """Nothing is parsed that the provider has not signed."""
    try:
        verdict = await services.generations.webhooks.judge(headers.get, raw)
    except Unavailable:
        services.webhooks_seen["undecided"] += 1
        raise
    services.webhooks_seen[verdict.value] += 1
    if verdict is Verdict.FORGED:
        raise Rejected(ProblemCode.WEBHOOK_NOT_GENUINE)
    return verdict


class WebhooksController(Controller):
    """`/v1/webhooks/fal`."""

    path = "/v1/webhooks/fal"
    tags = ("Webhooks",)

    @post(
        "/{generation_id:str}/{attempt:int}/{token:str}",
        scope=None,
        reply=Noted,
        body_max_bytes=WEBHOOK_BODY_MAX_BYTES,
        summary="Take a hint from fal",
        problems=(
            ProblemCode.NOT_FOUND,
            ProblemCode.WEBHOOK_NOT_GENUINE,
            ProblemCode.UNAVAILABLE,
        ),
        gate=_judge_token,
        prove=_judge_signature,
    )
    async def note_fal_webhook(
        self,
        call: Call,
        generation_id: str,
        attempt: int,
        token: str,
        body: FalWebhook,
        proven: Verdict,
    ) -> HttpReply:
        """Look at the generation now. The address is secret, and the body must bear fal's
        signature (`X-Fal-Webhook-*`, Ed25519). Nothing that it says is believed all the same, save
        for the request id of an attempt whose submit got no answer, and that only while the
        signature is at most 300 s old. 503 when fal's keys cannot be had: deliver it again."""
        request_id = body.request_id if proven is Verdict.GENUINE else None
        if proven is not Verdict.UNSIGNED:
            _expect_request_id(call.headers, body)
        services = call.services.generations
        owner = await services.reads.owner_of(generation_id)
        if owner is None:
            raise Rejected(ProblemCode.NOT_FOUND)
        await call.submit_as(
            ACTOR,
            HintGeneration(
                owner=owner,
                generation_id=generation_id,
                number=attempt,
                request_id=request_id,
            ),
        )
        services.doorbell.ring(generation_id)
        with suppress(Unavailable):  # a figure for operators: no webhook fails or waits for it
            await services.reads.note_verdicts([generation_id])
        return json_reply(Noted(noted=True))


def _expect_request_id(headers: Headers, body: FalWebhook) -> None:
    """Header and body must be about one and the same request."""
    signed = headers.get(REQUEST_ID_HEADER)
    if body.request_id is None or body.request_id.encode() != signed:
        raise Rejected(ProblemCode.WEBHOOK_NOT_GENUINE)
