"""Is this process alive, and is it fit to be sent requests?"""

from litestar import Controller

from ledger_service.api.call import Call
from ledger_service.api.endpoint import get
from ledger_service.api.http_reply import HttpReply, json_reply
from ledger_service.errors import Unavailable


class HealthController(Controller):
    """`/health`."""

    path = "/health"
    tags = ("Health",)

    @get("/live", scope=None, reply=dict, summary="Is the process alive?")
    async def live(self, call: Call) -> HttpReply:
        """200 as long as the process can answer at all; depends on nothing else."""
        return json_reply({"status": "live"})

    @get("/ready", scope=None, reply=dict, summary="Is the process ready?")
    async def ready(self, call: Call) -> HttpReply:
        """200 when the database is writable, its schema is the expected one, and the process is
        not about to end; else 503. Asked at most once a second, however often this is called."""
        if call.services.draining.is_set():
            raise Unavailable("draining")
        if await call.services.readiness.fault() is not None:
            raise Unavailable("not ready")
        return json_reply({"status": "ready"})
