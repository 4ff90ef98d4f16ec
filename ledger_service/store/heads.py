"""Heads and the rows beside them: states in and out of their stored form."""

from __future__ import annotations

from typing import Final

import msgspec

from ledger_service.domain.account.state import AccountState, Lot
from ledger_service.domain.generation.state import GenerationState
from ledger_service.domain.policy import PolicyState
from ledger_service.domain.world import HoldState
from ledger_service.errors import UnknownSnapshot

SNAPSHOT_VERSION: Final = 5

_ENCODER: Final = msgspec.json.Encoder()
_ACCOUNT: Final = msgspec.json.Decoder(AccountState)
_GENERATION: Final = msgspec.json.Decoder(GenerationState)
_POLICY: Final = msgspec.json.Decoder(PolicyState)
_HOLD: Final = msgspec.json.Decoder(HoldState)
_LOT: Final = msgspec.json.Decoder(Lot)


def encode_state(state: AccountState | GenerationState | PolicyState | Lot | HoldState) -> bytes:
    """A snapshot as it is stored: JSON."""
    return _ENCODER.encode(state)


def decode_account(snapshot: bytes, snapshot_version: int) -> AccountState:
    """Raises `UnknownSnapshot` when newer code wrote it."""
    _check(snapshot_version)
    return _ACCOUNT.decode(snapshot)


def decode_generation(snapshot: bytes, snapshot_version: int) -> GenerationState:
    """Raises `UnknownSnapshot` when newer code wrote it."""
    _check(snapshot_version)
    return _GENERATION.decode(snapshot)


def decode_policy(snapshot: bytes, snapshot_version: int) -> PolicyState:
    """Raises `UnknownSnapshot` when newer code wrote it."""
    _check(snapshot_version)
    return _POLICY.decode(snapshot)


def decode_hold(state: bytes) -> HoldState:
    """A row of `holds`."""
    return _HOLD.decode(state)


def decode_lot(state: bytes) -> Lot:
    """A row of `lots`."""
    return _LOT.decode(state)


def is_old(snapshot_version: int) -> bool:
    """Older code wrote it: what it says must be folded again from the events."""
    return snapshot_version < SNAPSHOT_VERSION


def _check(snapshot_version: int) -> None:
    if snapshot_version > SNAPSHOT_VERSION:
        raise UnknownSnapshot(f"version {snapshot_version}, known is {SNAPSHOT_VERSION}")
