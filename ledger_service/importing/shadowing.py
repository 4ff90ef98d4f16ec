"""The ledger beside an old credits table: where they differ, since when, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from ledger_service.errors import Unavailable
from ledger_service.importing.comparing import Figure, Pair, pairs
from ledger_service.importing.remote import Remote
from ledger_service.importing.sources import Balances


class Sighting(msgspec.Struct, kw_only=True):
    """An account whose balances differ. `counts` once it has lasted longer than is tolerated: the
    two sides are not read in one instant, so a difference that comes and goes means nothing."""

    account_id: str
    old: int
    ledger: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    counts: bool = False

    @property
    def seconds(self) -> float:
        """How long it has been seen."""
        return (self.last_seen_at - self.first_seen_at).total_seconds()


class Watch(msgspec.Struct, kw_only=True):
    """What has been seen so far. `open` differ now; `counted` lasted too long, ended or not."""

    tolerance_seconds: float
    rounds: int = 0
    failed_rounds: int = 0
    accounts: int = 0
    open: dict[str, Sighting] = msgspec.field(default_factory=dict)
    counted: list[Sighting] = msgspec.field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """No difference is left of which it is open whether it counts."""
        return all(sighting.counts for sighting in self.open.values())

    def see(self, pair: Pair, at: datetime) -> Sighting | None:
        """Take one comparison in; returns the difference when there is something new to say."""
        self.accounts += 1
        if pair.is_equal:
            return self.open.pop(pair.account_id, None)
        known = self.open.get(pair.account_id)
        sighting = known or Sighting(
            account_id=pair.account_id, old=pair.theirs, ledger=pair.ours,
            first_seen_at=at, last_seen_at=at,
        )  # fmt: skip
        self.open[pair.account_id] = sighting
        sighting.old, sighting.ledger, sighting.last_seen_at = pair.theirs, pair.ours, at
        if not sighting.counts and sighting.seconds >= self.tolerance_seconds:
            sighting.counts = True
            self.counted.append(sighting)
            return sighting
        return None if known else sighting


Tell = Callable[[Sighting, bool], None]
"""Told of a difference that is new or counts from now on, and, with True, of one that is over."""


async def watch(
    remote: Remote,
    balances: Balances,
    figure: Figure,
    seen: Watch,
    tell: Tell,
    *,
    follow_seconds: float | None,
    stop: asyncio.Event,
) -> None:
    """Compare everything, once or every `follow_seconds` until `stop`. Once: until it is known of
    every difference whether it counts. Raises `Unavailable`, `RefusedToStart`."""
    while not stop.is_set():
        seen.accounts = 0
        try:
            async for pair in pairs(remote, balances(), figure):
                sighting = seen.see(pair, datetime.now(UTC))
                if sighting is not None:
                    tell(sighting, pair.is_equal)
                if stop.is_set():
                    return
            seen.rounds += 1
        except Unavailable:
            # While it follows, a side that is away for a while is no reason to stop looking.
            if follow_seconds is None:
                raise
            seen.failed_rounds += 1
        if follow_seconds is None and seen.is_settled:
            return
        pause_seconds = seen.tolerance_seconds if follow_seconds is None else follow_seconds
        try:
            await asyncio.wait_for(stop.wait(), pause_seconds)
        except TimeoutError:
            continue
