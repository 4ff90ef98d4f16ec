"""What commands of one batch leave each other: the newest states, and nothing of the refused."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ledger_service.domain.account.holds import RELEASES_MAX
from ledger_service.domain.commands import (
    DebitCredits,
    PlaceHold,
    ReleaseHold,
    ReleaseHolds,
    SetPolicy,
)
from ledger_service.domain.events.holds import HoldPlaced, HoldsReleased
from ledger_service.domain.ids import policy_owner
from ledger_service.domain.policy import Policy
from ledger_service.engine.locked import LockedBatch
from ledger_service.engine.submission import Done, Submission
from ledger_service.engine.tickets import Result, Ticket
from ledger_service.errors import Contention, Rejected
from ledger_service.store.vault import Vault
from ledger_service.store.writing import connect
from tests.fixtures.engines import MASTER_KEY, OWNER, grant, key, running_engine, submission
from tests.fixtures.generating import requesting
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

OTHER = "demo/user-2"
AT_ONCE = Policy(tenant_generations_in_flight_max=1)
PER_DAY = Policy(tenant_generations_per_day_max=1)


def ticket_of(submitted: Submission) -> Ticket:
    """On its way to a batch."""
    return Ticket(submitted, asyncio.get_running_loop().create_future())


def in_one_batch(database: Database, *submissions: Submission) -> list[Result]:
    """Decide them in one transaction, in this order."""

    async def together() -> list[Result]:
        tickets = [ticket_of(each) for each in submissions]
        with closing(await connect(database.url)) as connection:
            batch = LockedBatch(tickets, connection, Vault(MASTER_KEY))
            found = dict(await batch.run())
        return [found[ticket] for ticket in tickets]

    return asyncio.run(together())


def granted(database: Database, amount: int, owner: str = OWNER) -> None:
    """The account has credits."""

    async def scenario() -> None:
        async with running_engine(database.url) as engine:
            await grant(engine, amount, owner)

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


def setting(policy: Policy) -> Submission:
    """The tenant's policy from now on."""
    return submission(SetPolicy(owner=policy_owner("demo"), policy=policy))


def order(owner: str = OWNER) -> Submission:
    """An order of one generation."""
    return submission(requesting(owner=owner, key=key()), private={"input": {"prompt": "a boat"}})


def test_a_bound_may_change_between_orders_of_one_batch(database: Database) -> None:
    """Each is decided under the policy of its turn, and what was right is not taken back."""
    granted(database, 1_000)
    narrow = setting(replace(PER_DAY, tenant_generations_in_flight_max=1))
    wide = setting(replace(PER_DAY, tenant_generations_per_day_max=2))
    results = in_one_batch(database, narrow, order(), order(), wide, order(), order())
    kinds = [type(result) for result in results]
    assert kinds == [Done, Done, Rejected, Done, Done, Rejected]
    with database.connect() as connection:
        (begun,) = connection.execute("SELECT begun FROM ledger.tenant_days").fetchall()
        (jobs,) = connection.execute("SELECT count(*) FROM ledger.jobs").fetchall()
    assert (begun, jobs) == ((2,), (2,))


@pytest.mark.parametrize("policy", [AT_ONCE, PER_DAY], ids=["at once", "per day"])
def test_two_processes_do_not_take_the_last_place_both(database: Database, policy: Policy) -> None:
    """Though each found it free: whoever comes second writes nothing, and decides again."""
    granted(database, 100)
    granted(database, 100, OTHER)
    in_one_batch(database, setting(policy))

    async def both() -> list[Any]:
        one, two = [await connect(database.url) for _ in range(2)]
        with closing(one), closing(two):
            batches = [
                LockedBatch([ticket_of(order(owner))], connection, Vault(MASTER_KEY)).run()
                for owner, connection in ((OWNER, one), (OTHER, two))
            ]
            return await asyncio.gather(*batches, return_exceptions=True)

    raised = [each for each in asyncio.run(both()) if isinstance(each, BaseException)]
    assert all(isinstance(each, Contention) for each in raised), raised
    again = in_one_batch(database, order(OWNER), order(OTHER))
    assert [type(result) for result in again] == [Rejected, Rejected]
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM ledger.jobs").fetchall() == [(1,)]
