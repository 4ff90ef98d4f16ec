"""Models: what can be generated, for how many credits, and whether it is on offer now."""

from litestar import Controller

from contracts.api.generations import Model, ModelsReply, ModelSwitchRequest
from contracts.api.keys import Scope
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get, put
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.errors import OutcomeUnknown, Unavailable
from ledger_service.store.models import SwitchRow


class ModelsController(Controller):
    """`/v1/models`."""

    path = "/v1/models"
    tags = ("Generations",)

    @get(scope=Scope.READ, reply=ModelsReply, summary="List models")
    async def list_models(self, call: Call) -> HttpReply:
        """All models, those that cannot be had now last. The first is the cheapest that needs only
        a prompt."""
        services = call.services.generations
        switches = await services.switchboard.of(call.tenant)
        return json_reply(ModelsReply(items=services.catalogue.models(switches)))

    @get(
        "/{model:str}",
        scope=Scope.READ,
        reply=Model,
        summary="Read a model",
        problems=(ProblemCode.MODEL_NOT_FOUND,),
    )
    async def read_model(self, call: Call, model: str) -> HttpReply:
        """One model with the JSON Schema of its input."""
        services = call.services.generations
        switches = await services.switchboard.of(call.tenant)
        return json_reply(services.catalogue.model(model, switches))

    @put(
        "/{model:str}",
        scope=Scope.ADMIN,
        reply=Model,
        summary="Switch a model on or off",
        problems=(ProblemCode.MODEL_NOT_FOUND, ProblemCode.OUTCOME_UNKNOWN),
        example={"available": False, "note": "Back on Monday."},
    )
    async def switch_model(self, call: Call, model: str, body: ModelSwitchRequest) -> HttpReply:
        """Take a model off the tenant's offer, or put it back on: within a second everywhere.

        What is off cannot be ordered or quoted; what was ordered before goes on. A model that the
        operator or the catalogue does not offer stays unavailable.
        """
        services = call.services.generations
        services.catalogue.offer(model)
        row = SwitchRow(call.tenant, model, body.available, body.deprecated, body.note or None)
        if call.is_dry_run:
            switches = await services.switchboard.would_be(row)
            return json_reply(services.catalogue.model(model, switches))
        try:
            await services.switchboard.set(row, call.identity.actor)
            switches = await services.switchboard.of(call.tenant)
        except Unavailable:
            raise OutcomeUnknown from None
        return json_reply(services.catalogue.model(model, switches))
