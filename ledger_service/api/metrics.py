"""`/metrics`, for a collector such as Prometheus."""

import asyncio
import hmac
from contextlib import suppress
from typing import Final

from litestar import Controller
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from contracts.problems import ProblemCode
from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply
from ledger_service.errors import Rejected, Unavailable

_SCHEME: Final = b"Bearer "
_TEXT: Final = CONTENT_TYPE_PLAIN_0_0_4.encode()


class MetricsController(Controller):
    """`/metrics`."""

    path = "/metrics"
    tags = ("Health",)

    @get(
        scope=None,
        reply=str,
        summary="Figures for a collector",
        problems=(ProblemCode.NOT_FOUND, ProblemCode.UNAUTHENTICATED),
        media_types=("text/plain",),
    )
    async def read_metrics(self, call: Call) -> HttpReply:
        """Figures of this process and of the deployment in Prometheus' text format, for whoever
        has the token of the setting `METRICS_TOKEN`; without that setting there are none. It
        depends on no API key, so that it answers without the database as well."""
        services = call.services
        expect_token(services.settings.metrics_token.encode(), call.headers.get(b"authorization"))
        with suppress(Unavailable):  # the figures say themselves that there is no database
            await services.figures.read()
        # In a thread: it is milliseconds of text, and whoever spends meanwhile comes first.
        text = await asyncio.to_thread(generate_latest, services.registry)
        return HttpReply(text, 200, _TEXT)


def expect_token(token: bytes, authorization: bytes | None) -> None:
    """Raises `Rejected`: unauthenticated, or, where there is no token at all, not found."""
    if not token:
        raise Rejected(ProblemCode.NOT_FOUND)
    if not hmac.compare_digest(_SCHEME + token, authorization or b""):
        raise Rejected(ProblemCode.UNAUTHENTICATED)
