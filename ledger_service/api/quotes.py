"""Quotes: what a generation would cost, promised for a while."""

from datetime import UTC, datetime

from litestar import Controller

from contracts.api.keys import Scope
from contracts.api.prices import Quote, QuoteRequest
from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import post
from ledger_service.api.http_reply import HttpReply, json_reply


class QuotesController(Controller):
    """`/v1/quotes`."""

    path = "/v1/quotes"
    tags = ("Generations",)

    @post(
        scope=Scope.READ,
        reply=Quote,
        summary="Ask for a price",
        problems=(
            ProblemCode.MODEL_NOT_FOUND,
            ProblemCode.THEME_NOT_FOUND,
            ProblemCode.MODEL_UNAVAILABLE,
        ),
        example={
            "model": "veo-3.1-lite",
            "input": {"prompt": "a lighthouse in a storm", "duration": "6s"},
        },
    )
    async def quote_generation(self, call: Call, body: QuoteRequest) -> HttpReply:
        """The price of a model with this very input, or of a theme, and how it comes about.

        Nothing is charged or kept. Until `expires_at` a generation with this `quote_id` costs
        exactly this, also when prices have changed meanwhile.
        """
        services = call.services.generations
        switches = await services.switchboard.of(call.tenant)
        wish = services.themes.wish(body)
        offer = services.catalogue.orderable(wish.model, wish.content, switches)
        line, now = offer.price(wish.content), datetime.now(UTC)
        return json_reply(services.quotes.make(call.tenant, wish.model, wish.content, line, now))
