"""What handlers may use: built once by the composition root, closed with the process."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
from prometheus_client import CollectorRegistry

from ledger_service.api.auth import Authenticator
from ledger_service.api.cursors import Cursors
from ledger_service.api.gate import BatchRoom, Gate
from ledger_service.api.reference import Reference
from ledger_service.api.traffic import Traffic
from ledger_service.engine.engine import Engine
from ledger_service.generations.services import GenerationServices
from ledger_service.settings import Settings
from ledger_service.store.figures import FigureReads
from ledger_service.store.following import AccountFollower
from ledger_service.store.hold_reads import HoldReads
from ledger_service.store.log_head import LogHead
from ledger_service.store.pool import ReadPool
from ledger_service.store.readiness import Readiness
from ledger_service.store.reads import Reads
from ledger_service.store.vault import Vault


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """`draining` is set when the process has been asked to end: whatever waits ends its wait.

    `webhooks_seen` counts webhooks by what they were taken for.
    """

    settings: Settings
    engine: Engine
    pool: ReadPool
    reads: Reads
    holds: HoldReads
    vault: Vault
    log_head: LogHead
    follower: AccountFollower
    authenticator: Authenticator
    batch_room: BatchRoom
    cursors: Cursors
    readiness: Readiness
    reference: Reference
    generations: GenerationServices
    figures: FigureReads
    webhooks_seen: Counter[str]
    gate: Gate
    traffic: Traffic
    registry: CollectorRegistry
    draining: asyncio.Event
