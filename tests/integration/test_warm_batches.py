"""Batches decided without locks, on a real PostgreSQL: written as decided, or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from typing import Any

import pytest

from contracts.problems import ProblemCode
from ledger_service.domain.account.terms import SpendLimit
from ledger_service.domain.commands import (
    CaptureHold,
    Command,
    DebitCredits,
    ExtendHold,
    PlaceHold,
    SetPolicy,
)
from ledger_service.domain.events.holds import HoldPlaced
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import Policy
from ledger_service.engine.lookout import Lookout
from ledger_service.engine.memory import Memory
from ledger_service.engine.submission import Done
from ledger_service.engine.tickets import Ticket
from ledger_service.engine.warm import WarmBatch
from ledger_service.errors import Rejected
from ledger_service.store.vault import Vault
from ledger_service.store.wanted import Verdict
from ledger_service.store.writing import WritingConnection, connect
from tests.fixtures.engines import MASTER_KEY, OWNER, debit, grant, key, running_engine, submission
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

OTHER = "demo/user-2"
VAULT = Vault(MASTER_KEY)


def rows(database: Database, query: str) -> list[Any]:
    """What a query says, as the serving role sees it."""
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def spend(amount: int, owner: str = OWNER, text: str | None = None) -> DebitCredits:
    """A spend under a key of its own."""
    return DebitCredits(owner=owner, amount=amount, reason="test", key=key(text))


class Writer:
    """A process: its memory, its connection, and the batches that it has sent."""

    def __init__(self, connection: WritingConnection) -> None:
        self.connection = connection
        self.memory = Memory(time.monotonic)
        self._sent = 0

    async def look(self, *owners: str) -> None:
        """Read accounts into memory."""
        back: asyncio.Queue[list[Ticket]] = asyncio.Queue()
        lookout = Lookout(self.memory, VAULT, back.put_nowait)
        for owner in owners:
            lookout.wait(self.ticket(spend(1, owner)), self.connection)
            assert not any(ticket.needs_locks for ticket in await back.get())

    def ticket(self, command: Command) -> Ticket:
        """A command on its way."""
        return Ticket(submission(command), asyncio.get_running_loop().create_future())

    def send(self, *commands: Command, after: int | None = None) -> asyncio.Future[Verdict]:
        """Decide these on what is remembered, and send them in one batch."""
        self._sent += 1
        batch = WarmBatch(self.memory, VAULT, self._sent, after)
        assert all(batch.add(self.ticket(command)) is None for command in commands)
        verdict = self.connection.append(batch.writes(), batch.relies_on())
        return asyncio.ensure_future(verdict)


@asynccontextmanager
async def two_writers(database: Database) -> AsyncIterator[tuple[Writer, Writer]]:
    """Two processes that both remember an account with 100 credits, and one without."""
    async with running_engine(database.url) as engine:
        await grant(engine, 100)
        await grant(engine, 100, OTHER)
    with closing(await connect(database.url)) as one, closing(await connect(database.url)) as two:
        first, second = Writer(one), Writer(two)
        for writer in (first, second):
            await writer.look(OWNER, OTHER)
        yield first, second


def test_what_was_decided_on_an_old_head_is_not_written(database: Database) -> None:
    """Another process was first: nothing of the whole batch is there, its neighbours' included."""

    async def scenario() -> list[str]:
        async with two_writers(database) as (one, other):
            told = [(await one.send(spend(60))).outcome]
            told.append((await other.send(spend(1, OTHER), spend(60))).outcome)
            return told

    assert asyncio.run(scenario()) == ["appended", "stale"]
    heads = rows(database, "SELECT owner, version, posted FROM ledger.heads ORDER BY owner")
    assert heads == [(OWNER, 3, 40), (OTHER, 2, 100)]
    assert rows(database, "SELECT last FROM ledger.logs") == [(5,)]


def test_a_refusal_is_verified_too(database: Database) -> None:
    """Credits that came meanwhile make a refusal untrue: it is not given."""

    async def scenario() -> list[str]:
        async with two_writers(database) as (one, other):
            told = [(await other.send(spend(101))).outcome]
            await one.send(spend(1))
            return [*told, (await other.send(spend(101))).outcome]

    assert asyncio.run(scenario()) == ["appended", "stale"]


def test_a_batch_falls_with_the_one_that_it_was_decided_on(database: Database) -> None:
    """The batch before it failed, and meanwhile another process made the very version that it
    expects: it is not written on top of that."""

    async def scenario() -> list[str]:
        async with two_writers(database) as (one, other):
            await other.send(spend(7))
            first = one.send(spend(60))  # takes version 3, like the other
            second = one.send(spend(40), after=1)  # expects version 3 to be ours
            third = one.send(spend(1, OTHER), after=2)
            return [(await sent).outcome for sent in (first, second, third)]

    assert asyncio.run(scenario()) == ["stale", "behind", "behind"]
    assert rows(database, f"SELECT version, posted FROM ledger.heads WHERE owner = '{OWNER}'") == [
        (3, 93)
    ]


def test_batches_in_flight_build_on_each_other(database: Database) -> None:
    """Each is decided before the database has answered the one before it."""

    async def scenario() -> list[tuple[str, int]]:
        async with two_writers(database) as (one, _):
            sent = [one.send(spend(10), spend(20))]
            sent += [one.send(spend(10), spend(1, OTHER), after=n) for n in (1, 2)]
            verdicts = [await each for each in sent]
            return [(verdict.outcome, verdict.base) for verdict in verdicts]

    assert asyncio.run(scenario()) == [("appended", 4), ("appended", 6), ("appended", 8)]
    heads = rows(database, "SELECT owner, version, posted FROM ledger.heads ORDER BY owner")
    assert heads == [(OWNER, 6, 50), (OTHER, 4, 98)]


def test_a_key_is_used_once(database: Database) -> None:
    """Whoever has used it: a command that would be refused now was perhaps carried out before."""

    async def scenario() -> list[str]:
        async with two_writers(database) as (one, other):
            await one.send(spend(100, text="the-one"))
            await other.look(OWNER)
            other.memory.forget([OWNER])
            await other.look(OWNER)
            return [(await other.send(spend(100, text="the-one"))).outcome]

    assert asyncio.run(scenario()) == ["used"]


@pytest.mark.parametrize("seconds", [-3, 1])
def test_a_clock_that_is_wrong_decides_nothing(database: Database, seconds: int) -> None:
    """What is due goes by the database's clock, and not by what somebody takes it for."""

    async def scenario() -> Verdict:
        async with two_writers(database) as (one, _):
            now = one.memory.clock.now()
            one.memory.clock.hear(now + timedelta(seconds=seconds), time.monotonic())
            return await one.send(spend(1))

    assert asyncio.run(scenario()).outcome == "clock"
    assert rows(database, "SELECT count(*) FROM ledger.events") == [(4,)]


def test_a_head_of_newer_code_is_not_overwritten(database: Database) -> None:
    """Though its version is the one that is remembered."""

    async def scenario() -> str:
        async with two_writers(database) as (one, _):
            with database.connect() as connection:
                connection.execute("UPDATE ledger.heads SET snapshot_version = 99")
            return (await one.send(spend(1))).outcome

    assert asyncio.run(scenario()) == "stale"


def test_two_processes_share_an_account(database: Database) -> None:
    """Each remembers what the other changes: every spend counts once, none is lost."""

    async def scenario() -> list[Done]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 300)
            turns = [debit((one, other)[n % 2], 1) for n in range(200)]
            return await asyncio.gather(*turns)

    done = asyncio.run(scenario())
    assert len({outcome.position for outcome in done}) == 200
    assert rows(database, "SELECT posted, version FROM ledger.heads") == [(100, 202)]


def test_an_account_that_did_not_exist_is_found_once_it_does(database: Database) -> None:
    """That there is none is remembered no longer than it was true."""

    async def scenario() -> list[Done | BaseException]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 1, OTHER)
            refused = await asyncio.gather(
                *[debit(other, 1) for _ in range(5)], return_exceptions=True
            )
            await grant(one, 5)
            return [*refused, *await asyncio.gather(*[debit(other, 1) for _ in range(5)])]

    refused, done = (outcomes := asyncio.run(scenario()))[:5], outcomes[5:]
    assert all(isinstance(outcome, Rejected) for outcome in refused)
    assert {outcome.code for outcome in refused if isinstance(outcome, Rejected)} == {
        ProblemCode.ACCOUNT_NOT_FOUND
    }
    assert all(isinstance(outcome, Done) for outcome in done)


def test_a_policy_holds_in_every_process(database: Database) -> None:
    """One process changes it, the others go by it from the answer on."""
    limit = SpendLimit(limit_id="day", amount=3)

    async def scenario() -> list[Done | BaseException]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 100)
            await debit(other, 1)
            policy = SetPolicy(owner=policy_owner("demo"), policy=Policy(limits=(limit,)))
            await one.submit(submission(policy))
            spends = [debit(other, 1) for _ in range(5)]
            return await asyncio.gather(*spends, return_exceptions=True)

    refused = [outcome for outcome in asyncio.run(scenario()) if isinstance(outcome, Rejected)]
    assert [error.code for error in refused] == [ProblemCode.SPEND_LIMIT_REACHED] * 2


def test_nothing_is_sealed_under_a_key_that_was_destroyed(database: Database) -> None:
    """Erasing somebody destroys their key in every process: what comes later has a new one."""
    private = {"metadata": {"order": "4711"}}

    async def scenario() -> list[Done]:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            first = await engine.submit(submission(spend(1), private=private))
            with database.connect() as connection:
                connection.execute("DELETE FROM ledger.vault")
                connection.execute("DELETE FROM ledger.subject_keys")
            return [first, await engine.submit(submission(spend(1), private=private))]

    first, second = asyncio.run(scenario())
    assert first.answer is not None
    assert second.answer is not None
    ((owner, digest, ciphertext, wrapped),) = rows(
        database,
        "SELECT owner, digest, ciphertext, wrapped_key FROM ledger.vault "
        "JOIN ledger.subject_keys USING (owner)",
    )
    assert VAULT.unseal(owner, VAULT.unwrap(owner, wrapped), ciphertext) == private
    assert getattr(second.answer.event, "private", None) == digest.hex()


def test_a_hold_ends_once_whoever_ends_it(database: Database) -> None:
    """Two processes remember the same open hold: one of them captures it."""

    async def scenario() -> list[Done | BaseException]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 100)
            outcomes: list[Done | BaseException] = []
            for _ in range(10):
                placed = await one.submit(submission(PlaceHold(owner=OWNER, amount=5, key=key())))
                assert placed.answer is not None
                assert isinstance(placed.answer.event, HoldPlaced)
                hold_id = placed.answer.event.hold.hold_id
                await other.submit(
                    submission(
                        ExtendHold(owner=OWNER, hold_id=hold_id, ttl=timedelta(hours=1), key=key())
                    )
                )
                captures = [
                    engine.submit(submission(CaptureHold(owner=OWNER, hold_id=hold_id, key=key())))
                    for engine in (one, other, one, other)
                ]
                outcomes += await asyncio.gather(*captures, return_exceptions=True)
            return outcomes

    outcomes = asyncio.run(scenario())
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert {error.code for error in refused} == {ProblemCode.HOLD_NOT_OPEN}
    assert (len(outcomes), len(refused)) == (40, 30)
    assert rows(database, "SELECT posted, held FROM ledger.heads") == [(50, 0)]
