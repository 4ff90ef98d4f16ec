"""Models: what can be generated, and for how many credits."""

from litestar import Controller

from contracts.api.generations import Model, ModelsReply
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply


class ModelsController(Controller):
    """`/v1/models`."""

    path = "/v1/models"
    tags = ("Generations",)

    @get(scope=Scope.READ, reply=ModelsReply, summary="List models")
    async def list_models(self, call: Call) -> HttpReply:
        """All models. The first is the cheapest that needs only a prompt."""
        catalogue = call.services.generations.catalogue
        return json_reply(ModelsReply(items=catalogue.models()))

    @get(
        "/{model:str}",
        scope=Scope.READ,
        reply=Model,
        summary="Read a model",
        problems=(ProblemCode.MODEL_NOT_FOUND,),
    )
    async def read_model(self, call: Call, model: str) -> HttpReply:
        """One model with the JSON Schema of its input."""
        return json_reply(call.services.generations.catalogue.offer(model).model)
