"""What the writer asks the database for, and what it gets."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from ledger_service.domain.generation.state import Job
from ledger_service.domain.world import DebitState, HoldState


class Head(NamedTuple):
    """A locked head as stored."""

    stream: str
    version: int
    snapshot_version: int
    snapshot: bytes


class KeyRow(NamedTuple):
    """The event that bears a key, as stored."""

    log: str
    position: int
    owner: str
    stream: str
    version: int
    topic: str
    state: bytes
    recorded_at: datetime
    actor: str | None
    fingerprint: bytes | None
    trace_id: str | None
    key_space: str
    key_digest: bytes


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch needs before it can be decided. Streams are (owner, stream); `policies` are
    the owners of its tenants' policies."""

    streams: list[tuple[str, str]]
    keys: list[tuple[str, str, bytes]]
    jobs: list[tuple[str, str]]
    subjects: list[str]
    policies: list[str]


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `Wanted`; `now` is the database's clock, read after the locks."""

    now: datetime
    heads: list[Head]
    keys: list[KeyRow]
    jobs: list[Job]
    subject_keys: dict[str, bytes]
    policies: list[Head]


class WantedLook(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read without locks: streams as (owner, stream), holds and debits as (owner,
    id), keys of the vault by owner."""

    streams: list[tuple[str, str]]
    holds: list[tuple[str, str]] = []
    debits: list[tuple[str, str]] = []
    subjects: list[str] = []


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as of the database's `now`; any of it may have changed since."""

    now: datetime
    heads: list[Head]
    holds: dict[str, HoldState | None] = {}
    debits: dict[str, DebitState | None] = {}
    subject_keys: dict[str, bytes] = {}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an append. `outcome` is `appended`, and `base` the position before its first
    event; or says why nothing was written: `stale`, `used`, `clock` or `behind`."""

    outcome: str
    base: int
    now: datetime
