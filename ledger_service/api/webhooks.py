"""The provider's webhooks: hints that something happened. Polling alone works without them."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from litestar import Controller

from contracts.api.common import Reply
from contracts.limits import WEBHOOK_BODY_MAX_BYTES
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.services import Services
from ledger_service.domain.commands import HintGeneration
from ledger_service.errors import Rejected
from ledger_service.generations.claiming import WEBHOOK_PURPOSE

ACTOR = "provider:fal"


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
        raise Rejected(ProblemCode.NOT_FOUND)


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
        problems=(ProblemCode.NOT_FOUND,),
        gate=_judge_token,
    )
    async def note_fal_webhook(
        self, call: Call, generation_id: str, attempt: int, token: str, body: FalWebhook
    ) -> HttpReply:
        """Look at the generation now. Nothing that the body says is believed, save for the request
        id of an attempt whose submit got no answer: only the provider knows this address."""
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
                request_id=body.request_id,
            ),
        )
        services.doorbell.ring(generation_id)
        return json_reply(Noted(noted=True))
