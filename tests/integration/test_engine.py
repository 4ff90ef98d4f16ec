"""The engine on a real PostgreSQL: what is answered is durable, once, and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from contracts.problems import ProblemCode
from ledger_service.domain.commands import DebitCredits
from ledger_service.domain.events.account import CreditsDebited, CreditsGranted, DebitRefunded
from ledger_service.engine.submission import Done
from ledger_service.errors import Rejected
from tests.fixtures.engines import OWNER, debit, grant, key, refund, running_engine, submission
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


def rows(database: Database, query: str) -> list[Any]:
    """What a query says, as the serving role sees it."""
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_grant_a_debit_and_a_refund_leave_what_they_should(database: Database) -> None:
    """Each movement is an event with the balances after it, and the head agrees."""

    async def scenario() -> tuple[Done, Done, Done]:
        async with running_engine(database.url) as engine:
            granted = await grant(engine, 100)
            debited = await debit(engine, 30)
            assert debited.answer is not None
            event = debited.answer.event
            assert isinstance(event, CreditsDebited)
            return granted, debited, await refund(engine, event.debit_id, 10)

    granted, debited, refunded = asyncio.run(scenario())
    assert granted.answer is not None
    assert isinstance(granted.answer.event, CreditsGranted)
    assert refunded.answer is not None
    assert isinstance(refunded.answer.event, DebitRefunded)
    assert refunded.answer.event.refunded == 10
    assert [granted.position, debited.position, refunded.position] == [2, 3, 4]
    assert rows(database, "SELECT version, posted, held, debt, position FROM ledger.heads") == [
        (4, 80, 0, 0, 4)
    ]
    assert rows(database, "SELECT last FROM ledger.logs") == [(4,)]


def test_fifty_spends_race_for_seven(database: Database) -> None:
    """Of 50 parallel spends against a balance for 7 exactly 7 succeed."""

    async def scenario() -> list[Done | BaseException]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 7)
            spends = [debit((one, other)[n % 2], 1) for n in range(50)]
            return await asyncio.gather(*spends, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    refused = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    assert len(refused) == 43
    assert {error.code for error in refused} == {ProblemCode.INSUFFICIENT_CREDITS}
    assert rows(database, "SELECT posted FROM ledger.heads") == [(0,)]


def test_one_key_a_hundred_times_is_one_effect(database: Database) -> None:
    """100 parallel requests with one key, through two writers: one event, 100 equal answers."""

    async def scenario() -> list[Done]:
        async with running_engine(database.url) as one, running_engine(database.url) as other:
            await grant(one, 1000)
            shared = key("the-one")
            return await asyncio.gather(
                *[debit((one, other)[n % 2], 5, key=shared) for n in range(100)]
            )

    outcomes = asyncio.run(scenario())
    assert sum(not done.is_replay for done in outcomes) == 1
    events = {msgspec.json.encode(done.answer.event) for done in outcomes if done.answer}
    assert len(events) == 1
    assert rows(database, "SELECT posted FROM ledger.heads") == [(995,)]


def test_a_key_belongs_to_one_request(database: Database) -> None:
    """The same key with another request is refused, in the same batch and in a later one."""

    async def scenario() -> list[Any]:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            shared = key()
            first = submission_of(shared, b"a" * 32)
            other = submission_of(shared, b"b" * 32)
            both = await asyncio.gather(
                engine.submit(first), engine.submit(other), return_exceptions=True
            )
            later = await asyncio.gather(engine.submit(other), return_exceptions=True)
            return [*both, *later]

    def submission_of(shared: Any, fingerprint: bytes) -> Any:
        command = DebitCredits(owner=OWNER, amount=1, key=shared)
        return submission(command, fingerprint=fingerprint)

    first, *refused = asyncio.run(scenario())
    assert isinstance(first, Done)
    assert [error.code for error in refused] == [ProblemCode.IDEMPOTENCY_KEY_REUSED] * 2
