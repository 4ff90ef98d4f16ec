"""What commands of one batch leave each other: the newest states, and nothing of the refused."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ledger_service.domain.account.holds import RELEASES_MAX
from ledger_service.domain.commands import DebitCredits, PlaceHold, ReleaseHold, ReleaseHolds
from ledger_service.domain.events.holds import HoldPlaced, HoldsReleased
from ledger_service.engine.locked import LockedBatch
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tickets import Result, Ticket
from ledger_service.errors import Rejected
from ledger_service.store.vault import Vault
from ledger_service.store.writing import connect
from tests.fixtures.engines import MASTER_KEY, OWNER, grant, key, running_engine, submission
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow


def in_one_batch(database: Database, *submissions: Submission) -> list[Result]:
    """Decide them in one transaction, in this order."""

    async def together() -> list[Result]:
        futures = asyncio.get_running_loop().create_future
        tickets = [Ticket(each, futures()) for each in submissions]
        with closing(await connect(database.url)) as connection:
            batch = LockedBatch(tickets, connection, Vault(MASTER_KEY))
            found = dict(await batch.run())
        return [found[ticket] for ticket in tickets]

    return asyncio.run(together())


def granted(database: Database, amount: int) -> None:
    """The account has credits."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, amount)

    asyncio.run(scenario())


def placed(result: Result) -> str:
    """The id of the hold that was placed."""
    assert isinstance(result, Done)
    assert result.answer is not None
    assert isinstance(result.answer.event, HoldPlaced)
    return result.answer.event.hold.hold_id


def released(result: Result) -> HoldsReleased:
    """What a release by reference did."""
    assert isinstance(result, Done)
    assert result.answer is not None
    assert isinstance(result.answer.event, HoldsReleased)
    return result.answer.event


def test_releases_in_one_batch_go_on_where_the_last_one_ended(database: Database) -> None:
    """Of more holds than one command takes, each releases as many as it would alone, whatever its
    neighbours have released, and says truly whether there are more."""
    granted(database, 5_000)
    hold = PlaceHold(owner=OWNER, amount=1, ttl=timedelta(hours=1), reason="many", reference="many")
    total = 2 * RELEASES_MAX + 2
    ids = []
    for first in range(0, total, 200):
        many = range(first, min(first + 200, total))
        ids += [
            placed(each)
            for each in in_one_batch(
                database, *(submission(replace(hold, key=key())) for _ in many)
            )
        ]
    alone = ReleaseHold(owner=OWNER, key=key(), hold_id=ids[0])
    all_of_them = [
        submission(ReleaseHolds(owner=OWNER, key=key(), reference="many")) for _ in range(3)
    ]
    _, *releases = in_one_batch(database, submission(alone), *all_of_them)
    found = [released(each) for each in releases]
    assert [(len(each.holds), each.has_more) for each in found] == [
        (RELEASES_MAX, True),
        (RELEASES_MAX, True),
        (1, False),
    ]
    assert [part.grant_id for each in found for part in each.holds] == ids[1:]


def test_a_refused_command_leaves_no_key_of_the_vault(database: Database) -> None:
    """Its free text is kept nowhere, nor a key for an account that does not exist, though a
    neighbour's is."""
    granted(database, 10)
    private: dict[str, Any] = {"metadata": {"note": "a boat"}}
    spend = DebitCredits(owner=OWNER, key=key(), amount=1, reason="test")
    nobody = replace(spend, owner="demo/nobody", key=key())
    refused, done = in_one_batch(
        database, submission(nobody, private=private), submission(spend, private=private)
    )
    assert isinstance(refused, Rejected)
    assert isinstance(done, Done)
    with database.connect() as connection:
        owners = connection.execute("SELECT owner FROM ledger.subject_keys").fetchall()
    assert owners == [(OWNER,)]
