"""Puts the parts together: one database connection, one queue, one courier, one pulse."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from litestar import Litestar, Request
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler, ExceptionHandlersMap

from deploy.emulators.fal import admin, files, platform_api, protocol
from deploy.emulators.fal.database import connect
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.sealing import Signer
from deploy.emulators.fal.settings import Settings
from deploy.emulators.fal.webhooks import Courier
from deploy.emulators.fal.wire import (
    Refusal,
    admit_a_bug,
    authenticate,
    refuse,
    refuse_in_fals_words,
    with_request_ids,
)

_IDLE_SECONDS = 1.0
_ROUTES: list[ControllerRouterHandler] = [
    *(protocol.submit, protocol.read, protocol.cancel, files.download),
    *(platform_api.by_endpoint, platform_api.meta, platform_api.jwks),
    *(admin.jobs, admin.reset, admin.page, admin.health),
]
_ERRORS: ExceptionHandlersMap = {
    Refusal: refuse,
    HTTPException: refuse_in_fals_words,
    Exception: admit_a_bug,
}
_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> ASGIApp:
    """The emulator as one ASGI application; its state lies in ``settings.state_dir``."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    database = connect(settings.state_dir / "jobs.sqlite")
    queue = JobQueue(database, settings)
    signer = Signer(settings.state_dir / "webhook.key")

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.courier = courier = Courier(database, settings, queue, signer)
        pulse = asyncio.create_task(_keep_going(queue, courier))
        pulse.add_done_callback(_stop_if_broken)
        yield
        pulse.cancel()
        await courier.close()
        database.close()

    def owner(request: Request[Any, Any, Any]) -> str:
        return authenticate(request, settings)

    def courier_of(request: Request[Any, Any, Any]) -> Courier:
        courier: Courier = request.app.state.courier
        return courier

    app = Litestar(
        route_handlers=_ROUTES,
        dependencies={
            "queue": _provide(lambda: queue),
            "signer": _provide(lambda: signer),
            "owner": _provide(owner),
            "courier": _provide(courier_of),
        },
        exception_handlers=_ERRORS,
        lifespan=[lifespan],
        request_max_body_size=protocol.MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )
    return with_request_ids(app)


def _provide(dependency: Callable[..., Any]) -> Provide:
    return Provide(dependency, sync_to_thread=False)


async def _keep_going(queue: JobQueue, courier: Courier) -> None:
    """Advance the queue and send webhooks when they fall due, whether or not anybody asks."""
    while True:
        now = time.time()
        queue.advance(now)
        courier.run_due(now, queue.changed)
        queue.changed.clear()  # nothing was awaited since `advance`, so nothing is missed
        moments = (queue.next_change_at(), courier.next_due_at(), now + _IDLE_SECONDS)
        pause_seconds = min(at for at in moments if at is not None) - now
        with suppress(TimeoutError):
            await asyncio.wait_for(queue.changed.wait(), max(pause_seconds, 0.001))


def _stop_if_broken(pulse: asyncio.Task[None]) -> None:
    """A queue that stands still would look like a slow model: rather die, and be restarted."""
    if not pulse.cancelled() and pulse.exception() is not None:
        _log.critical("the emulator's pulse has stopped", exc_info=pulse.exception())
        os._exit(70)
