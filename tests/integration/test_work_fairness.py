"""Whose due work is found first: tenants in turn, over real PostgreSQL and its indexes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import RawCursor, errors
from psycopg.types.json import Json

from contracts.limits import LOW_PRIORITY_WAIT_MAX_SECONDS
from ledger_service.clockwork import ROLE
from ledger_service.domain.generation.state import LOW_WAITS_MAX
from ledger_service.store.generation_reads import GenerationReads
from ledger_service.store.pool import ReadPool
from ledger_service.store.statements import load_statements
from ledger_service.store.vault import Vault
from tests.fixtures.engines import MASTER_KEY
from tests.fixtures.services import Database

pytestmark = pytest.mark.slow

DUE = load_statements("generations")["due"]
CLOCKWORK = load_statements("clockwork")
MEDIA = load_statements("media")
FIGURES = load_statements("figures")
WRITER = load_statements("writer")
MOST = 50
FILL = """
    INSERT INTO ledger.jobs (owner, generation_id, model, status, created_at, due_at, deadline,
        epoch, fence, to_fetch, unreported, is_hinted, ring_at, priority)
    SELECT %(tenant)s || '/account-' || n %% 7, %(tenant)s || '-' || n, 'm', %(status)s, at, at,
        at + interval '1 hour', 1, 1, false, 0, false, at, %(priority)s
    FROM (
        SELECT n, clock_timestamp() + %(first)s + n * interval '1 ms' AS at
        FROM generate_series(1, %(jobs)s) AS n
    ) AS instants
"""


END_ONE = "UPDATE ledger.jobs SET due_at = NULL, status = 'failed' WHERE generation_id = 'big-8'"
BEGIN_AGAIN = "UPDATE ledger.jobs SET due_at = now(), status = 'running' WHERE due_at IS NULL"


def fill(
    database: Database,
    tenant: str,
    jobs: int,
    *,
    seconds_ago: float,
    status: str = "running",
    priority: str = "normal",
) -> None:
    """Jobs of one tenant that have been due for so long, or (negative) will be."""
    first = timedelta(seconds=-seconds_ago)
    values = {"tenant": tenant, "jobs": jobs, "first": first, "status": status}
    values["priority"] = priority
    with database.connect_owner() as connection:
        connection.execute(FILL, values)
        connection.commit()


def tenants(found: list[tuple[str, str]]) -> list[str]:
    """Whose jobs they are, in order."""
    return [owner.partition("/")[0] for owner, _ in found]


def due(database: Database, most: int = MOST) -> list[tuple[str, str]]:
    """What a pull is offered."""

    async def scenario() -> list[tuple[str, str]]:
        pool = ReadPool(database.url)
        await pool.open()
        try:
            return await GenerationReads(pool, Vault(MASTER_KEY)).due(most)
        finally:
            await pool.close()

    return asyncio.run(scenario())


def late(database: Database) -> tuple[int, float]:
    """How many are due, and by how many seconds the first of them is late, as operators see it."""
    with psycopg.connect(database.url, cursor_factory=RawCursor) as connection:
        row = connection.execute(FIGURES["due"].encode(), (MOST, LOW_WAITS_MAX)).fetchone()
        assert row is not None
        return row[0], row[1]


@pytest.fixture
def crowded(database: Database) -> Database:
    """One tenant with a thousand jobs that have waited longest, and two with a few."""
    fill(database, "big", 1_000, seconds_ago=600)
    fill(database, "small", 1, seconds_ago=5)
    fill(database, "middle", 3, seconds_ago=60)
    return database


def test_a_thousand_jobs_of_one_tenant_do_not_starve_another_s_one(crowded: Database) -> None:
    """Each turn takes one of every tenant, the longest due first; what is left goes to whoever
    has more."""
    order = tenants(due(crowded))
    assert order[:3] == ["big", "middle", "small"]
    assert Counter(order) == {"big": MOST - 4, "middle": 3, "small": 1}
    assert order[3:7] == ["big", "middle", "big", "middle"]


def test_a_tenant_s_own_jobs_come_in_the_order_in_which_they_are_due(crowded: Database) -> None:
    """Fairness between tenants is none within one."""
    mine = [generation_id for owner, generation_id in due(crowded) if owner.startswith("big/")]
    assert mine == [f"big-{n}" for n in range(1, MOST - 3)]


def test_what_is_not_due_is_not_found(database: Database) -> None:
    """Nor does it keep what is due from being found."""
    fill(database, "later", 500, seconds_ago=-3600)
    assert due(database) == []
    fill(database, "now", 1, seconds_ago=1)
    assert due(database) == [("now/account-1", "now-1")]


def test_bells_are_rung_for_tenants_in_turn(crowded: Database) -> None:
    """A bell is the faster way in, so it must be as fair."""
    with leading(crowded) as (connection, epoch):
        rung = ring(connection, epoch, 20)
        assert Counter(tenant.partition("-")[0] for tenant in rung) == {
            "big": 16, "middle": 3, "small": 1,
        }  # fmt: skip
        # Each has its own back-off: the next tick rings others.
        assert not set(rung) & set(ring(connection, epoch, 20))


def test_a_job_that_somebody_holds_is_not_waited_for(crowded: Database) -> None:
    """The clockwork rings past whatever is being written."""
    with leading(crowded) as (connection, epoch), crowded.connect() as writer:
        writer.execute("SELECT FROM ledger.jobs WHERE generation_id = 'small-1' FOR UPDATE")
        connection.execute("SET lock_timeout = '100ms'")
        rung = ring(connection, epoch, 20)
    assert len(rung) == 19
    assert "small-1" not in rung


def fill_low(database: Database, tenant: str, jobs: int, *, seconds_ago: float) -> None:
    """Orders that may wait."""
    kind = {"status": "requested", "priority": "low"}
    fill(database, tenant, jobs, seconds_ago=seconds_ago, **kind)


def test_orders_that_may_wait_come_after_all_others(database: Database) -> None:
    """Whoever else has been due for a shorter time, of whichever tenant, and however many of them
    there are; among themselves tenants take turns."""
    fill_low(database, "patient", 3_000, seconds_ago=300)
    fill_low(database, "calm", 2, seconds_ago=400)
    fill(database, "hasty", 2, seconds_ago=5)
    order = tenants(due(database))
    assert order[:6] == ["hasty", "hasty", "calm", "patient", "calm", "patient"]
    assert set(order[6:]) == {"patient"}
    with leading(database) as (connection, epoch):
        assert {it.partition("-")[0] for it in ring(connection, epoch, 2)} == {"hasty"}
        # Rung for, and not begun yet: workers have enough to do.
        assert ring(connection, epoch, 2) == []
        connection.execute(
            "UPDATE ledger.jobs SET due_at = now() + interval '8 s' WHERE owner LIKE 'hasty/%'"
        )
        assert {it.partition("-")[0] for it in ring(connection, epoch, 2)} == {"patient", "calm"}


def test_what_may_wait_is_not_late_while_it_may(database: Database) -> None:
    """It is counted as due, and late from the moment at which it counts as any other."""
    assert late(database) == (0, 0)
    fill_low(database, "patient", 2, seconds_ago=LOW_PRIORITY_WAIT_MAX_SECONDS - 60)
    assert late(database) == (2, 0)
    fill(database, "normal", 1, seconds_ago=20)
    count, seconds = late(database)
    assert count == 3
    assert 19 < seconds < 49
    fill_low(database, "old", 1, seconds_ago=LOW_PRIORITY_WAIT_MAX_SECONDS + 50)
    count, seconds = late(database)
    assert count == 4
    assert 49 < seconds < 100


def test_nobody_waits_for_ever(database: Database) -> None:
    """What is older than ten minutes counts as any other, and so does what was begun already."""
    fill_low(database, "old", 1, seconds_ago=LOW_PRIORITY_WAIT_MAX_SECONDS + 1)
    fill_low(database, "new", 1, seconds_ago=LOW_PRIORITY_WAIT_MAX_SECONDS - 60)
    fill(database, "begun", 1, seconds_ago=400, priority="low")
    fill(database, "normal", 1, seconds_ago=300)
    assert tenants(due(database)) == ["old", "begun", "normal", "new"]
    with leading(database) as (connection, epoch):
        assert sorted(ring(connection, epoch, MOST)) == ["begun-1", "normal-1", "old-1"]


@pytest.mark.parametrize(("open_jobs", "due_jobs"), [(20_000, 50), (20_000, 5_000)])
def test_finding_work_reads_a_stretch_of_the_index(
    database: Database, open_jobs: int, due_jobs: int
) -> None:
    """However many generations are under way, and however long the queue is."""
    fill(database, "later", open_jobs, seconds_ago=-3600)
    fill(database, "big", due_jobs, seconds_ago=600)
    fill_low(database, "patient", due_jobs, seconds_ago=500)
    with database.connect_owner(autocommit=True) as connection:
        connection.execute("ANALYZE ledger.jobs")
        connection.execute("SET enable_seqscan = off")  # as all reads of the API have it
        nodes = list(plan_of(connection, DUE, [MOST, LOW_WAITS_MAX]))
    scans = {node["Index Name"]: node for node in nodes if "Index Name" in node}
    assert scans.keys() == {"jobs_due_first", "jobs_due_low"}
    assert all("due_at" in scan["Index Cond"] for scan in scans.values())
    first = scans["jobs_due_first"]
    assert first["Relation Name"] == "jobs"  # row by row, in order: no more than are wanted
    assert first["Actual Rows"] == min(due_jobs, 2_000)
    assert first.get("Rows Removed by Filter", 0) == 0


def test_whether_orders_may_be_rung_takes_one_look_at_the_index(database: Database) -> None:
    """However many others are due."""
    fill(database, "later", 10_000, seconds_ago=-3600)
    fill(database, "big", 3_000, seconds_ago=600)
    fill_low(database, "patient", 3_000, seconds_ago=500)
    with database.connect_owner(autocommit=True) as connection:
        connection.execute("ANALYZE ledger.jobs")
    with leading(database) as (connection, epoch):
        nodes = list(plan_of(connection, CLOCKWORK["ring_due"], [ROLE, epoch, MOST, LOW_WAITS_MAX]))
    due_indexes = {"jobs_due_first", "jobs_due_low"}
    scans = [node for node in nodes if node.get("Index Name") in due_indexes]
    assert len(scans) == 3
    assert all("due_at" in scan["Index Cond"] for scan in scans)
    (look,) = [scan for scan in scans if scan["Actual Rows"] == 1]
    assert look["Index Name"] == "jobs_due_first"


@pytest.mark.parametrize(
    ("query", "values", "column", "index"),
    [
        (CLOCKWORK["expiring"], [MOST], "next_expiry_at", "heads_next_expiry"),
        (CLOCKWORK["expiring_holds"], [MOST], "expires_at", "holds_expiring"),
        (CLOCKWORK["overdue"], [MOST], "deadline", "jobs_deadline"),
        (MEDIA["due"], [MOST], "due_at", "media_due"),
        (FIGURES["due"], [MOST, LOW_WAITS_MAX], "due_at", "jobs_due_first"),
        (FIGURES["due"], [MOST, LOW_WAITS_MAX], "due_at", "jobs_due_low"),
    ],
    ids=["expiries", "holds", "deadlines", "media", "figures", "figures of what may wait"],
)
def test_what_is_due_is_a_condition_of_its_index(
    database: Database, query: str, values: list[Any], column: str, index: str
) -> None:
    """Of a million that are due later none is looked at."""
    with database.connect_owner(autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        nodes = list(plan_of(connection, query, values))
    (scan,) = [node for node in nodes if node.get("Index Name") == index]
    assert column in scan["Index Cond"]


def test_a_tenants_crowd_is_counted_in_a_stretch_of_its_index(database: Database) -> None:
    """However much others have under way and it has had itself, no further than is asked, and also
    by a plan that was made while there was nothing."""
    with database.connect_owner(autocommit=True) as connection:
        # As the writer has it.
        connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE counted AS {WRITER['count_crowd']}".encode())
        scans = [crowd_scan(connection, MOST)]
        for tenant in ("bi", "big", "bigger"):
            fill(database, tenant, 3_000, seconds_ago=600)
        connection.execute(
            "UPDATE ledger.jobs SET due_at = NULL, status = 'failed'"
            " WHERE owner LIKE 'big/%' AND generation_id NOT LIKE '%7'"
        )
        connection.execute("ANALYZE ledger.jobs")
        scans += [crowd_scan(connection, most) for most in (MOST, 9_000)]
    for scan in scans:
        assert (scan["Index Name"], "Filter" in scan) == ("jobs_in_flight", False)
        assert "owner" in scan["Index Cond"]
    assert [scan["Actual Rows"] for scan in scans] == [0, MOST, 300]


def crowd_scan(connection: Any, most: int) -> dict[str, Any]:
    """How a tenant's crowd is found."""
    nodes = plan_of(connection, f"EXECUTE counted ('big', {most})", [])
    (scan,) = [node for node in nodes if node.get("Relation Name") == "jobs"]
    return scan


def test_an_append_sees_what_others_of_the_tenant_began_meanwhile(database: Database) -> None:
    """It waits for their commits, and is refused when there are more than it was decided on."""
    fill(database, "big", 8, seconds_ago=600)
    put = "SELECT ledger.put_rows_v1(%s)"
    few, enough = (Json({"tenant_crowds": [{"tenant": "big", "most": most}]}) for most in (7, 8))
    with database.connect() as first, database.connect() as second:
        second.execute(END_ONE)
        second.commit()
        first.execute(put, [few])
        second.execute("SET lock_timeout = 1")
        with pytest.raises(errors.LockNotAvailable):
            second.execute(put, [few])
        second.rollback()
        first.execute(BEGIN_AGAIN)
        first.commit()
        with pytest.raises(errors.SerializationFailure):
            second.execute(put, [few])
        second.rollback()
        second.execute(put, [enough])


def plan_of(connection: Any, query: str, values: list[Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that was carried out."""
    cursor = RawCursor(connection)
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", values)
    row = cursor.fetchone()
    assert row is not None
    waiting = [row[0][0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        yield node


@contextmanager
def leading(database: Database) -> Iterator[tuple[Any, int]]:
    """A connection of the clockwork's leader, and its epoch."""
    with psycopg.connect(database.url, autocommit=True, cursor_factory=RawCursor) as connection:
        values = (ROLE, "test", timedelta(seconds=60))
        row = connection.execute(CLOCKWORK["lead"].encode(), values).fetchone()
        assert row is not None
        yield connection, row[0]


def ring(connection: Any, epoch: int, most: int) -> list[str]:
    """One tick of the bell."""
    values = (ROLE, epoch, most, LOW_WAITS_MAX)
    rows = connection.execute(CLOCKWORK["ring_due"].encode(), values).fetchall()
    return [generation_id for (generation_id,) in rows]
