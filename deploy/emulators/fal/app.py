"""Puts the parts together: one database connection, one queue, one courier, one pulse."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from litestar import Litestar, Request
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler, ExceptionHandlersMap

from deploy.emulators.fal import (
    admin,
    catalogue,
    cdn,
    costs,
    direct,
    files,
    outcomes,
    platform_api,
    protocol,
    storage,
)
from deploy.emulators.fal.accounts import Accounts
from deploy.emulators.fal.browsers import with_browsers
from deploy.emulators.fal.clock import Clock
from deploy.emulators.fal.database import Facts, connect
from deploy.emulators.fal.jobs import JobQueue
from deploy.emulators.fal.outage import Outage, with_outages
from deploy.emulators.fal.reading import InputReader
from deploy.emulators.fal.sealing import Signer
from deploy.emulators.fal.settings import Settings
from deploy.emulators.fal.submits import SubmitLog
from deploy.emulators.fal.webhooks import Courier
from deploy.emulators.fal.wire import (
    Refusal,
    admit_a_bug,
    authenticate,
    authenticate_admin,
    refuse,
    refuse_in_fals_words,
    with_request_ids,
)

_IDLE_SECONDS = 1.0
_ROUTES: list[ControllerRouterHandler] = [
    *(protocol.submit, protocol.read, protocol.cancel, direct.run, files.download),
    *(platform_api.by_endpoint, platform_api.delete_payloads, platform_api.meta),
    *(platform_api.jwks, catalogue.list_models, catalogue.queue_openapi),
    *(costs.pricing, costs.estimate, costs.usage, costs.billing),
    *(storage.initiate, storage.put_content, storage.read_upload),
    *(cdn.token, cdn.upload, cdn.begin_parts, cdn.initiate_parts, cdn.put_part),
    cdn.complete_parts,
    *(admin.jobs, admin.state, admin.page, admin.health),
    *(admin.reset, admin.move_clock, admin.start_outage, admin.set_balance),
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
    facts = Facts(database)
    clock = Clock(facts, virtual=settings.virtual_clock)
    accounts = Accounts(database, facts, settings.balance_usd)
    life_seconds = partial(
        outcomes.life_seconds,
        result_seconds=settings.result_seconds,
        stored_seconds=settings.stored_seconds,
    )
    queue = JobQueue(database, settings, clock, accounts, life_seconds)
    outage = Outage(facts, clock)
    signer = Signer(settings.state_dir / "webhook.key")
    shared: dict[str, Any] = {
        "queue": queue,
        "clock": clock,
        "accounts": accounts,
        "outage": outage,
        "signer": signer,
        "settings": settings,
        "submits": SubmitLog(database, settings.chaos),
        "uploads": storage.Uploads(database, settings.state_dir / "uploads"),
    }

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.courier = courier = Courier(database, settings, queue, signer)
        reader = InputReader(queue, settings.fetch_inputs)
        pulse = asyncio.create_task(_keep_going(queue, courier, reader, clock, outage))
        pulse.add_done_callback(_stop_if_broken)
        yield
        pulse.cancel()
        await courier.close()
        await reader.close()
        database.close()

    app = Litestar(
        route_handlers=_ROUTES,
        dependencies=_dependencies(shared, settings),
        exception_handlers=_ERRORS,
        lifespan=[lifespan],
        request_max_body_size=protocol.MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )
    return with_browsers(with_request_ids(with_outages(app, outage)), settings)


def _dependencies(shared: dict[str, Any], settings: Settings) -> dict[str, Provide]:
    """What a handler may ask for by name: the shared parts, and who is calling."""

    def owner(request: Request[Any, Any, Any]) -> str:
        return authenticate(request, settings)

    def admin(request: Request[Any, Any, Any]) -> str:
        return authenticate_admin(request, settings)

    def courier(request: Request[Any, Any, Any]) -> Courier:
        found: Courier = request.app.state.courier
        return found

    callers = {one.__name__: _provide(one) for one in (owner, admin, courier)}
    return {name: _always(part) for name, part in shared.items()} | callers


def _always(part: Any) -> Provide:
    return _provide(lambda: part)


def _provide(dependency: Callable[..., Any]) -> Provide:
    return Provide(dependency, sync_to_thread=False)


async def _keep_going(
    queue: JobQueue, courier: Courier, reader: InputReader, clock: Clock, outage: Outage
) -> None:
    """Advance the queue and send webhooks when they fall due, whether or not anybody asks."""
    while True:
        now = clock.now()
        queue.advance(now)
        if outage.ends_at() is None:
            courier.run_due(now, queue.changed)
        reader.run_due()
        queue.changed.clear()  # nothing was awaited since `advance`, so nothing is missed
        moments = (queue.next_change_at(), _next_delivery_at(courier, outage), now + _IDLE_SECONDS)
        until = min(at for at in moments if at is not None)
        # A virtual clock wakes us through `changed`; looking more often would only keep us busy.
        pause_seconds = _IDLE_SECONDS if clock.is_virtual else max(until - clock.now(), 0.001)
        with suppress(TimeoutError):
            await asyncio.wait_for(queue.changed.wait(), pause_seconds)


def _next_delivery_at(courier: Courier, outage: Outage) -> float | None:
    """Nothing is sent before an outage ends, however long it has been due."""
    due_at, outage_ends_at = courier.next_due_at(), outage.ends_at()
    if due_at is None or outage_ends_at is None:
        return due_at
    return max(due_at, outage_ends_at)


def _stop_if_broken(pulse: asyncio.Task[None]) -> None:
    """A queue that stands still would look like a slow model: rather die, and be restarted."""
    if not pulse.cancelled() and pulse.exception() is not None:
        _log.critical("the emulator's pulse has stopped", exc_info=pulse.exception())
        os._exit(70)
