"""Themes: prompts with settings that can be ordered by their names."""

from litestar import Controller

from contracts.api.keys import Scope
from contracts.api.themes import ThemesReply
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply


class ThemesController(Controller):
    """`/v1/themes`."""

    path = "/v1/themes"
    tags = ("Generations",)

    @get(scope=Scope.READ, reply=ThemesReply, summary="List themes")
    async def list_themes(self, call: Call) -> HttpReply:
        """All themes, featured ones first; those that cannot be had now come last.

        Order one, or ask for its price, by naming it as `theme`: its prompt is filled in with your
        `subject`, and its settings stand where your `input` says nothing else.
        """
        services = call.services.generations
        switches = await services.switchboard.of(call.tenant)
        return json_reply(ThemesReply(items=services.themes.themes(switches)))
