"""Clients: they ask, lose answers, ask again with the same key, give up, and come back."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from msgspec.structs import replace

from contracts.limits import WRITE_WAIT_SECONDS
from ledger_service.domain.commands import Command, RequestGeneration, VoidCommand
from ledger_service.domain.events.account import CreditsDebited
from ledger_service.engine.submission import Done
from ledger_service.errors import OutcomeUnknown, Rejected, Unavailable
from tests.simulation.asking import OWNERS, Asking, private_of
from tests.simulation.ledger import ConnectionBroken, Ledger
from tests.simulation.provider import heard
from tests.simulation.timetable import Bell

TRIES_MAX: Final = 4
PATIENCE_SECONDS: Final = WRITE_WAIT_SECONDS + 2.5
_ACTOR: Final = "key:app"


class Clients:
    """All clients of a history. `asked` are keyed commands, `open` those without an answer."""

    def __init__(self, ledger: Ledger, asking: Asking, bell: Bell, chance: Random) -> None:
        self._ledger = ledger
        self._asking = asking
        self._bell = bell
        self._chance = chance
        self.asked: list[Command] = []
        self.open: list[Command] = []

    async def open_accounts(self) -> None:
        """Most accounts are opened, others by their first grant."""
        for owner in OWNERS:
            if self._chance.random() < 0.7:
                await self.ask(self._asking.open(owner))
            if self._chance.random() < 0.7:
                await self.ask(self._asking.first_grant(owner))
        if self._chance.random() < 0.15:
            await asyncio.gather(*[self.ask(command) for command in self._asking.burst()])

    async def live(self, commands: int, pauses: tuple[float, ...]) -> None:
        """One client's life."""
        for _ in range(commands):
            await asyncio.sleep(self._chance.choice(pauses) * self._chance.uniform(0.5, 1.5))
            await self._do_something()

    async def _do_something(self) -> None:
        kind = self._chance.random()
        if kind < 0.04:
            await self._try_out(self._asking.next())
        elif kind < 0.06:
            key = self._asking.key()
            await self.ask(VoidCommand(owner=self._chance.choice(OWNERS), key=key))
        elif kind > 0.9 and self.asked:
            earlier = self._chance.choice(self.asked)  # a retry long after
            await self.ask(earlier)
            if kind > 0.98:
                await self._try_misuse(earlier)
        else:
            await self.ask(self._asking.next())

    async def _try_misuse(self, earlier: Command) -> None:
        """Another request under a key that was used."""
        other = self._asking.first_grant(earlier.owner)
        try:
            await self._try(replace(other, key=earlier.key))
        except (Rejected, Unavailable, OutcomeUnknown, ConnectionBroken, TimeoutError):
            return

    async def ask_again(self) -> None:
        """Every key once more: what was answered is answered alike, what was not is decided or
        voided now."""
        for command in self.open:
            if command.key is not None and self._chance.random() < 0.3:
                await self.ask(VoidCommand(owner=command.owner, key=command.key))
        for command in dict.fromkeys(self.asked):
            await self.ask(command)

    async def ask(self, command: Command) -> None:
        """Until there is an answer, or patience ends."""
        if command.key is not None and not isinstance(command, VoidCommand):
            self.asked.append(command)
        for _ in range(TRIES_MAX):
            try:
                done = await self._try(command)
            except Rejected:
                return
            except (Unavailable, OutcomeUnknown, ConnectionBroken, TimeoutError):
                await asyncio.sleep(self._chance.uniform(0.1, 2.0))
                continue
            self._learn(command, done)
            return
        self.open.append(command)

    async def _try(self, command: Command) -> Done:
        strikes = self._ledger.faults.strikes
        if strikes("request_lost"):
            await asyncio.sleep(PATIENCE_SECONDS)
            raise TimeoutError
        is_late = strikes("request_late")
        delay = self._chance.uniform(*((5.0, 60.0) if is_late else (0.001, 0.05)))
        arriving = [self._send(command, delay)]
        if strikes("request_twice"):
            arriving.append(self._send(command, self._chance.uniform(0.001, 0.1)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            done = await asyncio.shield(arriving[0])
        if strikes("reply_lost"):
            raise ConnectionBroken
        return done

    def _send(self, command: Command, delay: float) -> asyncio.Task[Done]:
        """It arrives, whoever waits for it."""
        task = self._ledger.loop.create_task(self._arrive(command, delay))
        task.add_done_callback(heard)
        return task

    async def _arrive(self, command: Command, delay: float) -> Done:
        await asyncio.sleep(delay)
        return await self._ledger.submit(command, _ACTOR, private_of(command))

    async def _try_out(self, command: Command) -> None:
        """A dry run: whatever comes of it, nothing was done."""
        try:
            await self._ledger.try_out(command, _ACTOR, private_of(command))
        except (Rejected, Unavailable, OutcomeUnknown, ConnectionBroken):
            return

    def _learn(self, command: Command, done: Done) -> None:
        if done.answer is None:
            return
        event = done.answer.event
        self._asking.learn(command.owner, event)
        if isinstance(command, RequestGeneration):
            generation_id = getattr(event, "generation_id", None)
            assert generation_id is not None or not isinstance(event, CreditsDebited)
            if generation_id is not None:
                self._bell.ring(generation_id)
