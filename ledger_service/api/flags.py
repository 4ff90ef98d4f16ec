"""Reports of people about generations."""

from litestar import Controller

from contracts.api.generations import FlagReply, FlagRequest, FlagsReply
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, post
from ledger_service.api.generation_shapes import flags_of, own_generation
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.api.orders import Order
from ledger_service.api.query import ReadQuery
from ledger_service.domain.commands import FlagGeneration


class FlagsController(Controller):
    """`/v1/generations/{generation_id}/flags`."""

    path = "/v1/generations/{generation_id:str}/flags"
    tags = ("Generations",)

    @post(
        scope=Scope.SPEND,
        reply=FlagReply,
        status=201,
        keyed=True,
        summary="Report a generation",
        problems=(ProblemCode.GENERATION_NOT_FOUND, ProblemCode.LIMIT_REACHED),
        example={"reason": "private_person", "text": "This is my face."},
    )
    async def flag_generation(self, call: Call, generation_id: str, body: FlagRequest) -> HttpReply:
        """Somebody finds something wrong with it. The generation says so from then on, and
        operators find it with `GET /v1/generations?flagged=true`; nothing else about it changes."""
        view = await own_generation(call, generation_id, even_deleted=True)
        command = FlagGeneration(
            owner=view.state.owner,
            key=call.key,
            generation_id=generation_id,
            reason=body.reason,
        )
        return await call.carry_out(Order(command, {"text": body.text} if body.text else None))

    @get(
        scope=Scope.ADMIN,
        reply=FlagsReply,
        summary="Read what was reported",
        problems=(ProblemCode.GENERATION_NOT_FOUND,),
    )
    async def list_flags(self, call: Call, generation_id: str, query: ReadQuery) -> HttpReply:
        """Every report about the generation in its writer's words, the newest first."""
        await call.at_least(query.min_position)
        state = (await own_generation(call, generation_id)).state
        private = await call.services.reads.private(
            (state.owner, flag.private) for flag in state.flags if flag.private
        )
        return json_reply(FlagsReply(items=flags_of(state, private)))
