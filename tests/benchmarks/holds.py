"""Holds on an account that has very many open ones, beside the same on one that has none."""

from __future__ import annotations

import asyncio
import time

import uvloop

from ledger_service.app import tune_interpreter
from ledger_service.domain.commands import CaptureHold, Key, PlaceHold
from ledger_service.domain.events.holds import HoldPlaced
from ledger_service.engine.engine import Engine
from ledger_service.store.vault import Vault
from tests.benchmarks.measure import Row, Turns, say
from tests.benchmarks.stand import Stand
from tests.fixtures.engines import MASTER_KEY, grant, submission
from tests.fixtures.services import Database

CROWDED = "demo/crowded"
EMPTY = "demo/empty"
CALLERS = 64
_IN_FLIGHT = 256


def hold_rows(stand: Stand, turns: Turns, open_holds: int) -> list[Row]:
    """Holds placed and captured per second."""
    say(f"holds beside {open_holds:,} open ones")
    database = stand.new_database()
    bench = HoldBench(database, open_holds, turns.seconds)
    asyncio.run(bench.prepare())
    crowded, empty = turns.of(lambda: bench.rate(CROWDED), lambda: bench.rate(EMPTY))
    stand.drop(database)
    return [
        Row(
            group="engine",
            what=f"holds placed and captured, {open_holds:,} open, {CALLERS} callers",
            ours=crowded,
            yardstick=empty,
            yardstick_name="none open",
        )
    ]


class HoldBench:
    """Holds placed and captured by callers in flight, through one engine."""

    def __init__(self, database: Database, open_holds: int, seconds: float) -> None:
        self._database = database
        self._open_holds = open_holds
        self._seconds = seconds
        self._keys = 0

    async def prepare(self) -> None:
        """Two accounts, one of them with its open holds."""
        async with asyncio.timeout(600):
            engine = await self._start()
            for owner in (CROWDED, EMPTY):
                await grant(engine, 10**9, owner)
            for start in range(0, self._open_holds, _IN_FLIGHT):
                count = min(_IN_FLIGHT, self._open_holds - start)
                await asyncio.gather(*[self._place(engine, CROWDED) for _ in range(count)])
            await engine.stop()

    def rate(self, owner: str) -> float:
        """Holds per second that are placed and captured on an account."""
        tune_interpreter()
        return uvloop.run(self._use(owner))

    async def _use(self, owner: str) -> float:
        engine = await self._start()
        done = 0
        until = time.perf_counter() + self._seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                hold_id = await self._place(engine, owner)
                command = CaptureHold(owner=owner, key=self._key(), hold_id=hold_id)
                await engine.submit(submission(command))
                done += 1

        started = time.perf_counter()
        await asyncio.gather(*[caller() for _ in range(CALLERS)])
        rate = done / (time.perf_counter() - started)
        await engine.stop()
        return rate

    async def _place(self, engine: Engine, owner: str) -> str:
        command = PlaceHold(owner=owner, amount=1, reason="bench", key=self._key())
        placed = await engine.submit(submission(command))
        assert placed.answer is not None
        assert isinstance(placed.answer.event, HoldPlaced)
        return placed.answer.event.hold.hold_id

    def _key(self) -> Key:
        self._keys += 1
        return Key("k", f"hold-{time.monotonic_ns()}-{self._keys}")

    async def _start(self) -> Engine:
        engine = Engine(self._database.url, Vault(MASTER_KEY))
        await engine.start()
        return engine
