"""Time travel: accounts, lots and holds as they were. Every method may raise `Unavailable`.

History does not change, so what was read at a point can be read again for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from ledger_service.domain.account.state import Lot
from ledger_service.domain.bearings import changed_holds
from ledger_service.domain.events.holds import (
    HoldAfter,
    HoldEnded,
    HoldExtended,
    HoldPlaced,
    HoldsReleased,
)
from ledger_service.domain.ids import make_id
from ledger_service.errors import Unavailable
from ledger_service.store.arrays import text_array
from ledger_service.store.folding import account_at, account_event, fetch_past, run_steps_async
from ledger_service.store.head_reader import AccountView
from ledger_service.store.heads import decode_lot
from ledger_service.store.pool import Connection, ReadPool, snapshot

EVENTS_MAX: Final = 20_000
"""Events that one read folds; only while the projections are far behind are there more."""

Result = TypeVar("Result")
_TICK: Final = timedelta(microseconds=1)
"""The database's instants are no finer."""
_HoldEvent = HoldPlaced | HoldExtended | HoldEnded | HoldsReleased


class Moment(NamedTuple):
    """A point in an account's history: the version that it had, when that was recorded, where the
    command ended that made it, and the instant at which expiry and the like are judged."""

    version: int
    recorded_at: datetime
    position: int
    now: datetime


class Past:
    """Named statements over the pool."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def clock(self) -> datetime:
        """The database's clock."""
        ((now,),) = await self._pool.read(lambda connection: fetch_past(connection, "clock", ()))
        found: datetime = now.astimezone(UTC)
        return found

    async def at_instant(self, owner: str, at: datetime) -> Moment | None:
        """The account at an instant; None before it was opened."""

        async def work(connection: Connection) -> Moment | None:
            values = (owner, (at + _TICK).isoformat())
            return await _moment(connection, "version_before_instant", values, at)

        return await self._pool.read(work)

    async def at_position(self, owner: str, position: int) -> Moment | None:
        """The account after the last whole command at or before `position`; None before it was
        opened."""

        async def work(connection: Connection) -> Moment | None:
            rows = await fetch_past(connection, "cut", (str(position),))
            if not rows:
                return None
            cut, recorded_at = rows[0]
            values = (owner, str(cut))
            return await _moment(connection, "version_at_position", values, recorded_at)

        return await self._pool.read(work)

    async def account(self, owner: str, moment: Moment) -> AccountView:
        """The account as it was, with every live lot."""

        async def work(connection: Connection) -> AccountView:
            folded = await run_steps_async(
                account_at(owner, moment.version, EVENTS_MAX), connection
            )
            return AccountView(folded.state, moment.position, moment.now)

        return await self._in_snapshot(work)

    async def lots(self, owner: str, moment: Moment, before: str | None, limit: int) -> list[Lot]:
        """Lots by id as they were, newest first, live or not."""

        async def work(connection: Connection) -> list[Lot]:
            end = before or _end("grt", owner, moment)
            rows = await fetch_past(connection, "grant_ids", (owner, end, str(limit)))
            return await _lots(connection, owner, moment, [row[0] for row in rows])

        return await self._in_snapshot(work)

    async def lot(self, owner: str, moment: Moment, grant_id: str) -> Lot | None:
        """One lot as it was; None when it was not there yet."""

        async def work(connection: Connection) -> Lot | None:
            found = await _lots(connection, owner, moment, [grant_id])
            return found[0] if found else None

        return await self._in_snapshot(work)

    async def holds(
        self, owner: str, moment: Moment, before: str | None, limit: int
    ) -> list[HoldAfter]:
        """Holds by id as they were, newest first, open or not."""

        async def work(connection: Connection) -> list[HoldAfter]:
            end = before or _end("hld", owner, moment)
            rows = await fetch_past(connection, "hold_ids", (owner, end, str(limit)))
            return await _holds(connection, owner, moment, [row[0] for row in rows])

        return await self._in_snapshot(work)

    async def hold(self, owner: str, moment: Moment, hold_id: str) -> HoldAfter | None:
        """One hold as it was; None when it was not there yet."""

        async def work(connection: Connection) -> HoldAfter | None:
            found = await _holds(connection, owner, moment, [hold_id])
            return found[0] if found else None

        return await self._in_snapshot(work)

    async def _in_snapshot(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        async def within(connection: Connection) -> Result:
            async with snapshot(connection):
                return await work(connection)

        return await self._pool.read(within)


async def _moment(
    connection: Connection, name: str, values: tuple[str, ...], at: datetime
) -> Moment | None:
    rows = await fetch_past(connection, name, values)
    if not rows:
        return None
    version, position, recorded_at = rows[0]
    ((end,),) = await fetch_past(connection, "command_end", (str(position),))
    now = max(at, recorded_at).astimezone(UTC)
    return Moment(version, recorded_at.astimezone(UTC), end, now)


def _end(prefix: str, owner: str, moment: Moment) -> str:
    """An id behind all that were made up to the moment and before all later ones."""
    return make_id(prefix, moment.recorded_at, owner, moment.version + 1)


async def _lots(
    connection: Connection, owner: str, moment: Moment, wanted: Sequence[str]
) -> list[Lot]:
    folded = await run_steps_async(account_at(owner, moment.version, EVENTS_MAX), connection)
    found = {lot.grant_id: lot for lot in folded.state.lots} | folded.left
    if missing := [grant_id for grant_id in wanted if grant_id not in found]:
        values = (owner, text_array(missing), str(moment.version))
        for (state,) in await fetch_past(connection, "past_lots", values):
            lot = decode_lot(state)
            found[lot.grant_id] = lot
    return [found[grant_id] for grant_id in wanted if grant_id in found]


async def _holds(
    connection: Connection, owner: str, moment: Moment, wanted: Sequence[str]
) -> list[HoldAfter]:
    changes = await _changes(connection, owner, moment.version, wanted)
    found: dict[str, HoldAfter] = {}
    for event in changes:
        if not isinstance(event, HoldsReleased):
            found[event.hold.hold_id] = event.hold
            continue
        for hold_id, amount in [(part.grant_id, part.amount) for part in event.holds]:
            if hold_id in found:
                found[hold_id] = replace(found[hold_id], status="released", released=amount)
    return [found[hold_id] for hold_id in wanted if hold_id in found]


async def _changes(
    connection: Connection, owner: str, version: int, wanted: Sequence[str]
) -> list[_HoldEvent]:
    """The newest changes of holds up to a version, oldest first; what the projection does not
    know yet comes from the events."""
    ((projected,),) = await fetch_past(connection, "projected", (owner,))
    values = (owner, text_array(wanted), str(version))
    rows = [tuple(row) for row in await fetch_past(connection, "hold_changes", values)]
    if version - projected > EVENTS_MAX:
        raise Unavailable("the projections are far behind", retry_after_seconds=30)
    if version > projected:
        span = (owner, owner, str(projected), str(version))
        rows += [tuple(row[:3]) for row in await fetch_past(connection, "events_between", span)]
    in_order = {at: (topic, state) for at, topic, state in sorted(rows)}
    events = [account_event(topic, state) for topic, state in in_order.values()]
    return [
        event
        for event in events
        if isinstance(event, _HoldEvent) and not set(wanted).isdisjoint(changed_holds(event))
    ]
