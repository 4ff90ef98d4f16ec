"""The processes of the workers: who is there, and what one has found out for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from contracts.api.health import ProviderHealth
from contracts.presence import (
    SHARED_REASONS,
    BreakerState,
    Pause,
    PresenceRequest,
    ProviderSeen,
)
from ledger_service.store.pool import Connection, ReadPool
from ledger_service.store.presence import Present, note_presence, read_presence

_BADNESS: Final = (BreakerState.CLOSED, BreakerState.PROBING, BreakerState.OPEN)


class Roster:
    """Workers say that they are there, and hear of each other."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def tell(self, told: PresenceRequest) -> tuple[Pause, ...]:
        """What the others have found. Raises `Unavailable`."""

        async def work(connection: Connection) -> list[Present]:
            await note_presence(connection, told)
            return await read_presence(connection)

        return pauses_for(told.worker, await self._pool.write(work))


def pauses_for(worker: str, present: Iterable[Present]) -> tuple[Pause, ...]:
    """The pauses that others are certain of and that still last, the longest of each provider.

    What somebody has only heard is not told on: two who hear of each other would never stop.
    """
    longest: dict[str, Pause] = {}
    for age_seconds, told in present:
        for seen in told.providers if told.worker != worker else ():
            left = seen.seconds_left - age_seconds
            if not _is_shared(seen) or left <= 0:
                continue
            known = longest.get(seen.name)
            if known is None or known.seconds_left < left:
                pause = Pause(name=seen.name, reason=seen.reason or "", seconds_left=left)
                longest[seen.name] = pause
    return tuple(longest.values())


def provider_health(present: Iterable[Present]) -> tuple[ProviderHealth, ...]:
    """Each provider as the worst off of the processes sees it."""
    by_name: dict[str, list[tuple[float, ProviderSeen]]] = defaultdict(list)
    for age_seconds, told in present:
        for seen in told.providers:
            by_name[seen.name].append((age_seconds, seen))
    return tuple(_health(name, by_name[name]) for name in sorted(by_name))


def _health(name: str, views: list[tuple[float, ProviderSeen]]) -> ProviderHealth:
    paused = [view for view in views if view[1].state is not BreakerState.CLOSED]
    _, worst = max(views, key=lambda view: (_BADNESS.index(view[1].state), view[1].for_seconds))
    return ProviderHealth(
        name=name,
        state=worst.state,
        reason=worst.reason,
        for_seconds=max((age + seen.for_seconds for age, seen in paused), default=0.0),
        held_back=sum(seen.held_back for _, seen in paused),
        open_workers=len(paused),
        workers=len(views),
    )


def _is_shared(seen: ProviderSeen) -> bool:
    return seen.is_certain and seen.state is BreakerState.OPEN and seen.reason in SHARED_REASONS
