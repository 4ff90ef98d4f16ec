"""The composition root: everything that serves is made and wired here, and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import FrameType

import msgspec
from litestar import Litestar
from litestar.datastructures import State

from ledger_service.api.accounts import AccountsController
from ledger_service.api.auth import Authenticator
from ledger_service.api.batches import BatchesController
from ledger_service.api.cursors import Cursors
from ledger_service.api.debits import DebitsController, RefundsController
from ledger_service.api.deployment import DeploymentController
from ledger_service.api.dispatch import Dispatcher
from ledger_service.api.docs import DocsController
from ledger_service.api.explain import ExplainController
from ledger_service.api.exposition import DeploymentFigures, ProcessFigures, make_registry
from ledger_service.api.flags import FlagsController
from ledger_service.api.forgettings import ForgettingsController
from ledger_service.api.gate import BatchRoom, Gate
from ledger_service.api.generation_streams import GenerationStreamsController
from ledger_service.api.generations import GenerationsController
from ledger_service.api.grants import GrantsController
from ledger_service.api.health import HealthController
from ledger_service.api.holds import HoldsController
from ledger_service.api.keys import KeysController
from ledger_service.api.log import LogController
from ledger_service.api.media import MediaController
from ledger_service.api.metrics import MetricsController
from ledger_service.api.models import ModelsController
from ledger_service.api.openapi import openapi_document
from ledger_service.api.operating import OperatingController, TransfersController
from ledger_service.api.operations import operations
from ledger_service.api.problem_details import handle_exception
from ledger_service.api.quotes import QuotesController
from ledger_service.api.reference import Reference
from ledger_service.api.reference_page import reference_page
from ledger_service.api.references import ReferencesController
from ledger_service.api.services import Services
from ledger_service.api.statements import StatementsController
from ledger_service.api.streams import StreamsController
from ledger_service.api.terms import PoliciesController, TermsController
from ledger_service.api.themes import ThemesController
from ledger_service.api.traces import GrantTracesController
from ledger_service.api.traffic import Traffic
from ledger_service.api.uploads import UploadsController
from ledger_service.api.webhooks import WebhooksController
from ledger_service.api.work import WorkController
from ledger_service.api.workers import WorkersController
from ledger_service.engine.engine import Engine
from ledger_service.generations.catalogue import Catalogue
from ledger_service.generations.claiming import ClaimBuilder
from ledger_service.generations.document import load_document
from ledger_service.generations.doorbell import Doorbell
from ledger_service.generations.key_set_client import KeySetClient
from ledger_service.generations.moderation import Moderator
from ledger_service.generations.moderation_client import ModerationClient
from ledger_service.generations.quotes import Quotes
from ledger_service.generations.roster import Roster
from ledger_service.generations.services import GenerationServices
from ledger_service.generations.switchboard import Switchboard
from ledger_service.generations.themes import Themes
from ledger_service.generations.webhook_keys import ProviderKeys
from ledger_service.generations.webhooks import WebhookJudge
from ledger_service.media.library import MediaLibrary
from ledger_service.media.uploads import Uploads
from ledger_service.settings import Settings, read_settings
from ledger_service.signing import Signer
from ledger_service.store.figures import FigureReads
from ledger_service.store.following import AccountFollower
from ledger_service.store.forgettings import Forgettings
from ledger_service.store.generation_reads import GenerationReads
from ledger_service.store.hold_reads import HoldReads
from ledger_service.store.log_head import LogHead
from ledger_service.store.pool import ReadPool
from ledger_service.store.readiness import Readiness
from ledger_service.store.reads import Reads
from ledger_service.store.vault import Vault

GARBAGE_THRESHOLD = 20_000
SWITCH_SECONDS = 0.0002
"""How long a thread may keep the interpreter while the event loop wants it back after a system
call: what takes long to decide is decided in threads, and Python's default of 5 ms would be the
answer time of everybody else."""

CONTROLLERS = (
    AccountsController,
    GrantsController,
    GrantTracesController,
    DebitsController,
    RefundsController,
    HoldsController,
    OperatingController,
    TransfersController,
    TermsController,
    PoliciesController,
    ExplainController,
    BatchesController,
    StatementsController,
    ReferencesController,
    StreamsController,
    LogController,
    ModelsController,
    ThemesController,
    QuotesController,
    GenerationsController,
    GenerationStreamsController,
    FlagsController,
    WorkController,
    WorkersController,
    ForgettingsController,
    WebhooksController,
    MediaController,
    UploadsController,
    KeysController,
    DeploymentController,
    HealthController,
    MetricsController,
    DocsController,
)


def create_app(settings: Settings | None = None) -> Dispatcher:
    """The ASGI application. Without settings: from the environment."""
    services = build_services(settings or read_settings())

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        tune_interpreter()
        await services.pool.open()
        await services.engine.start()
        services.generations.doorbell.start()
        restore = _announce_draining(services.draining)
        try:
            yield
        finally:
            restore()
            services.draining.set()
            await services.engine.stop()
            services.generations.doorbell.stop()
            if services.generations.moderator is not None:
                await services.generations.moderator.close()
            await services.pool.close()

    app = Litestar(
        route_handlers=CONTROLLERS,
        lifespan=[running],
        state=State({"services": services}),
        exception_handlers={Exception: handle_exception},
        openapi_config=None,  # ours is made from the same declarations that requests are read by
        logging_config=None,
        request_max_body_size=None,  # every endpoint has its own limit
    )
    return Dispatcher(app, CONTROLLERS, services.gate, services.traffic)


def tune_interpreter() -> None:
    """Hand the interpreter over early, and look for cyclic garbage seldom: what requests make is
    freed by reference counts, and all that was made at the start stays."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def build_services(settings: Settings) -> Services:
    """All parts, not yet running. Raises `RefusedToStart` for secrets that are none,
    or a faulty catalogue."""
    vault = Vault(settings.master_key())
    pool = ReadPool(settings.database_url)
    log_head = LogHead(pool)
    engine = Engine(settings.database_url, vault)
    gate = Gate(lambda: engine.waiting)
    figures, traffic, webhooks_seen = FigureReads(pool), Traffic(), Counter[str]()
    return Services(
        settings=settings,
        engine=engine,
        pool=pool,
        reads=Reads(pool, vault),
        holds=HoldReads(pool),
        vault=vault,
        log_head=log_head,
        follower=AccountFollower(pool, log_head),
        authenticator=Authenticator(pool),
        batch_room=BatchRoom(),
        cursors=Cursors(settings.signing_secret()),
        readiness=Readiness(pool),
        reference=_reference(),
        generations=_generation_services(settings, pool, vault),
        figures=figures,
        webhooks_seen=webhooks_seen,
        gate=gate,
        traffic=traffic,
        registry=make_registry(
            ProcessFigures(traffic, gate, engine, webhooks_seen), DeploymentFigures(figures)
        ),
        draining=asyncio.Event(),
    )


def _reference() -> Reference:
    document = openapi_document(operations(CONTROLLERS))
    return Reference(msgspec.json.encode(document), reference_page(document).encode())


def _generation_services(settings: Settings, pool: ReadPool, vault: Vault) -> GenerationServices:
    signer = Signer(settings.signing_secret())
    document = load_document(settings.catalogue_file)
    library = MediaLibrary(settings.storage_url, signer, settings.public_url)
    catalogue = Catalogue(document, settings.generation_deadline_seconds, library.is_own_link)
    return GenerationServices(
        catalogue=catalogue,
        themes=Themes(document, catalogue),
        switchboard=Switchboard(pool),
        quotes=Quotes(signer, timedelta(seconds=settings.quote_seconds)),
        claims=ClaimBuilder(catalogue, signer, settings.webhook_base_url),
        doorbell=Doorbell(settings.valkey_url),
        library=library,
        uploads=Uploads(pool, library, timedelta(seconds=settings.upload_seconds)),
        reads=GenerationReads(pool, vault),
        forgettings=Forgettings(pool),
        signer=signer,
        webhooks=_webhook_judge(settings),
        moderator=_moderator(settings),
        roster=Roster(pool),
        patience=settings.provider_patience,
    )


def _webhook_judge(settings: Settings) -> WebhookJudge:
    if not settings.verifies_webhooks:
        return WebhookJudge(None)
    keys = ProviderKeys(KeySetClient(settings.key_set_url()).fetch)
    return WebhookJudge(keys, settings.fal_webhook_user_id)


def _moderator(settings: Settings) -> Moderator | None:
    told = settings.moderation()
    if told is None:
        return None
    refuses = settings.moderation_on_failure == "refuse"
    return Moderator(ModerationClient(*told), refuses_on_failure=refuses)


def _announce_draining(draining: asyncio.Event) -> Callable[[], None]:
    """Set `draining` on SIGTERM before the server's own handler runs: it waits for open requests
    to end, and long polls among them should."""
    before = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(draining.set)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, handle)

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    return restore
