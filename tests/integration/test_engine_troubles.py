"""The engine when the database answers badly, or not at all: never twice, never untrue."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.limits import UNREPORTED_CLAIMS_MAX
from ledger_service.domain.commands import ClaimGeneration, DebitCredits, RequestGeneration
from ledger_service.domain.events.account import CreditsDebited
from ledger_service.engine.locked import LockedBatch
from ledger_service.engine.submission import Done
from ledger_service.engine.tickets import Ticket
from ledger_service.errors import OutcomeUnknown, Unavailable
from ledger_service.store.heads import SNAPSHOT_VERSION, decode_account, encode_state
from ledger_service.store.vault import Vault
from ledger_service.store.writing import connect
from tests.fixtures.engines import (
    MASTER_KEY,
    OWNER,
    debit,
    grant,
    key,
    running_engine,
    submission,
)
from tests.fixtures.lossy_line import lossy_line
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

REQUEST = RequestGeneration(
    owner=OWNER,
    key=key(),
    model="video-lite",
    price=20,
    tags=("video",),
    deadline_after=timedelta(hours=1),
)


def rows(database: Database, query: str) -> list[Any]:
    """What a query says, as the serving role sees it."""
    with database.connect() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("lost", [1, 2])
def test_a_commit_whose_answer_is_lost_counts_once(database: Database, lost: int) -> None:
    """The writer looks its batch up by the keys: every caller hears what was committed."""

    async def scenario(url: str) -> list[Done]:
        async with running_engine(url) as engine:
            await grant(engine, 100)
            line.lose_commits(lost)
            repeated = key()
            return await asyncio.gather(
                *[debit(engine, 1) for _ in range(20)],
                grant(engine, 5, "demo/somebody-new"),
                *[debit(engine, 1, key=repeated) for _ in range(3)],
            )

    with lossy_line(database.url) as line:
        outcomes = asyncio.run(scenario(line.lossy_url))
    assert [outcome.is_replay for outcome in outcomes] == [False] * 22 + [True] * 2
    assert rows(database, "SELECT owner, posted FROM ledger.heads ORDER BY owner") == [
        ("demo/somebody-new", 5),
        (OWNER, 79),
    ]
    assert rows(database, "SELECT count(*), max(position) FROM ledger.events") == [(25, 25)]
    debited = [o.answer.position for o in outcomes if o.answer is not None]
    assert len(debited) == 24
    assert len(set(debited)) == 22


def test_a_lost_claim_is_not_called_refused(database: Database) -> None:
    """A command without a key cannot be looked up: after a lost answer nobody says it failed."""

    async def scenario(url: str) -> Done | BaseException:
        async with running_engine(url) as engine:
            await grant(engine, 100)
            request = submission(REQUEST, private={"input": {"prompt": "a boat"}})
            answer = (await engine.submit(request)).answer
            assert answer is not None
            assert isinstance(answer.event, CreditsDebited)
            assert answer.event.generation_id is not None
            generation_id = answer.event.generation_id
            claim = ClaimGeneration(owner=OWNER, generation_id=generation_id, worker="w")
            line.lose_commits(1)
            (outcome,) = await asyncio.gather(
                engine.submit(submission(claim)), return_exceptions=True
            )
            return outcome

    with lossy_line(database.url) as line:
        outcome = asyncio.run(scenario(line.lossy_url))
    assert isinstance(outcome, OutcomeUnknown)
    assert rows(database, "SELECT status, fence FROM ledger.jobs") == [("submitting", 1)]


def test_a_database_that_takes_no_writes_is_unavailable(database: Database) -> None:
    """A server that has become read-only fails nobody for good: nothing was applied, come back."""
    switch = f"ALTER DATABASE {database.name} SET default_transaction_read_only = "

    async def scenario() -> tuple[list[Done | BaseException], Done]:
        async with running_engine(database.url) as engine:
            with database.connect_owner(autocommit=True) as owner:
                owner.execute(f"{switch} on".encode())
                tries = [grant(engine, 1, f"demo/user-{n}") for n in range(8)]
                refused = await asyncio.gather(*tries, return_exceptions=True)
                owner.execute("SET default_transaction_read_only = off")
                owner.execute(f"{switch} off".encode())
            return refused, await grant(engine, 1)

    refused, granted = asyncio.run(scenario())
    assert {type(outcome).__name__ for outcome in refused} == {"DatabaseUnfit"}
    assert all(isinstance(outcome, Unavailable) for outcome in refused)
    assert granted.position == 2


def test_time_never_goes_back_on_a_stream(database: Database) -> None:
    """The database's clock was set back: a claim that ends a generation pays back no earlier than
    the account's newest event, though only a neighbour in the batch has asked for that account."""

    async def requested() -> Done:
        async with running_engine(database.url) as engine:
            await grant(engine, 100)
            private = {"input": {"prompt": "a boat"}}
            return await engine.submit(submission(REQUEST, private=private))

    answer = asyncio.run(requested()).answer
    assert answer is not None
    assert isinstance(answer.event, CreditsDebited)
    assert answer.event.generation_id is not None
    set_ahead(database, OWNER)
    claim = ClaimGeneration(owner=OWNER, generation_id=answer.event.generation_id, worker="w")
    spend = DebitCredits(owner=OWNER, amount=1, reason="test", key=key())

    async def together() -> None:
        futures = asyncio.get_running_loop().create_future
        tickets = [Ticket(submission(command), futures()) for command in (spend, claim)]
        with closing(await connect(database.url)) as connection:
            await LockedBatch(tickets, connection, Vault(MASTER_KEY)).run()

    asyncio.run(together())
    times = rows(
        database, f"SELECT recorded_at FROM ledger.events WHERE stream = '{OWNER}' ORDER BY version"
    )
    assert times == sorted(times)
    assert rows(database, "SELECT status FROM ledger.jobs") == [("failed",)]


def set_ahead(database: Database, owner: str) -> None:
    """As if the account's newest event was an hour ahead of the clock; its job has had enough."""
    with database.connect() as connection:
        ((snapshot,),) = connection.execute(
            "SELECT snapshot FROM ledger.heads WHERE stream = %s", [owner]
        ).fetchall()
        state = decode_account(snapshot, SNAPSHOT_VERSION)
        ahead = replace(state, recorded_at=state.recorded_at + timedelta(hours=1))
        connection.execute(
            "UPDATE ledger.heads SET snapshot = %s WHERE stream = %s",
            [encode_state(ahead), owner],
        )
        connection.execute("UPDATE ledger.jobs SET unreported = %s", [UNREPORTED_CLAIMS_MAX])
